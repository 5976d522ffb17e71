"""Client for an OpenAI-compatible endpoint; the key is removed from replies and errors."""

import dataclasses
import http.client
import json
import os
import re
import time
import urllib.request

SECONDS = 120  # to wait for a reply
PAUSES = (1, 2, 4, 8, 16)  # seconds before each next try
LONGEST_PAUSE = 60  # seconds, if the endpoint asks for a longer one
MOST_BYTES = 1 << 20  # of a reply
BUSY, REFUSED = (408, 429), (400, 413, 422)  # HTTP: try again, and: never send this chat again
LOCAL = ('localhost', '127.0.0.1', '[::1]')
URL = re.compile(r'(https?)://([\w.-]+|\[[\da-f:]+\])(?::\d{1,5})?(?:/[\w./~-]*)?', re.ASCII)
NAME = re.compile(r'[A-Za-z_]\w*', re.ASCII)


class Refused(Exception):
    """The endpoint rejected this chat; the message says why."""


class NoRedirects(urllib.request.HTTPErrorProcessor):
    """Returns every reply as it is: a redirection, if followed, could send the key elsewhere."""

    def http_response(self, request, response):
        return response

    https_response = http_response


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model at an address; ValueError names the key of config.judge that is wrong."""

    url: str  # such as https://host/v1
    model: str
    key: str  # the environment variable that holds the key, if one is needed

    def __post_init__(self):
        # A wrong URL or key may contain a secret, so neither is shown.
        found = URL.fullmatch(self.url)
        if not found:
            raise ValueError(
                'judge.endpoint: must be https://HOST/PATH, such as https://host/v1, without user, '
                'password or query'
            )
        if found[1] == 'http' and self.host not in LOCAL:
            raise ValueError(
                f'judge.endpoint=http://{self.host}…: would send clips and key unencrypted, which '
                f'is allowed to {", ".join(LOCAL)} alone; use https'
            )
        if not self.model:
            raise ValueError(f"judge.model='': name the model to ask at {self.host}")
        if self.key and not NAME.fullmatch(self.key):
            raise ValueError(
                'judge.key: must be the name of an environment variable that holds the key, not '
                'the key itself'
            )
        if not (self.secret().isascii() and self.secret().isprintable()):
            raise ValueError(f'judge.key={self.key!r}: its value must be printable ASCII')

    @property
    def host(self) -> str:
        """The host of the address."""
        return URL.fullmatch(self.url)[2]

    @property
    def title(self) -> str:
        """The model and the host, for messages."""
        return f'{self.model} at {self.host}'

    def secret(self) -> str:
        """The key itself, from the environment; '' if there is none."""
        return os.environ.get(self.key, '').strip()


def ask(endpoint: Endpoint, messages: list[dict]) -> str:
    """The reply of the model to a chat at temperature 0.

    While the endpoint is busy, failing or unreachable, the chat is sent again after each of PAUSES.
    Raises Refused if the endpoint rejects this chat, ConnectionError if it cannot be asked at all.
    """
    chat = {'model': endpoint.model, 'temperature': 0, 'messages': messages}
    body = json.dumps(chat).encode()
    for pause in (*PAUSES, None):
        status, said, wait = post(endpoint, body)
        if status == 200:
            return content(endpoint, said)
        reason = f'HTTP {status}: {said!r:.300}' if status else said
        if status in REFUSED:
            raise Refused(reason)
        if pause is None or 0 < status < 500 and status not in BUSY:
            raise ConnectionError(
                f'{endpoint.host} cannot be asked: {reason}. Check judge.endpoint, judge.model and '
                'the environment variable that judge.key names. Verdicts so far are kept, and the '
                'same command continues from them'
            )
        time.sleep(max(pause, min(wait, LONGEST_PAUSE)))


def post(endpoint: Endpoint, body: bytes) -> tuple[int, str, int]:
    """Sends a chat once: the HTTP status, the reply, and the seconds that it asks to wait.

    Without a reply the status is 0 and the text is the reason. The key is removed from either.
    """
    headers = {'Content-Type': 'application/json'}
    if secret := endpoint.secret():
        headers['Authorization'] = f'Bearer {secret}'
    url = f'{endpoint.url.rstrip("/")}/chat/completions'
    request = urllib.request.Request(url, body, headers)
    direct = [urllib.request.ProxyHandler({})] if endpoint.host in LOCAL else []
    opener = urllib.request.build_opener(NoRedirects, *direct)
    try:
        with opener.open(request, timeout=SECONDS) as reply:
            said = reply.read(MOST_BYTES).decode(errors='replace')
            status, wait = reply.status, reply.headers.get('Retry-After', '')
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        status, said, wait = 0, str(error) or type(error).__name__, ''
    if secret:
        said = said.replace(secret, '[key]')
    return status, said, int(wait) if re.fullmatch('[0-9]{1,6}', wait) else 0


def content(endpoint: Endpoint, reply: str) -> str:
    """The text of a chat completion; '' if the model says nothing."""
    try:
        said = json.loads(reply)['choices'][0]['message']['content']
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ConnectionError(
            f'{endpoint.host} replies {reply!r:.200}, which is no chat completion: judge.endpoint '
            'must be OpenAI-compatible, such as https://host/v1'
        ) from None
    return said if isinstance(said, str) else ''
