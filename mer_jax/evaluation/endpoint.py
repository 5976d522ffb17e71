"""Client for an OpenAI-compatible endpoint; the key is removed from replies and errors."""

import dataclasses
import json
import os
import random
import re
import time
from collections.abc import Callable

from mer_jax.evaluation.http_reply import MOST_BYTES, Reply, post

PAUSES = (1, 2, 4, 8, 16)  # seconds before each next try, and up to half as many more by chance
LONGEST_PAUSE = 60  # seconds, if the endpoint asks for a longer one
LONGEST_WAIT = 3600  # seconds that judge.seconds may say
BUSY, REFUSED = (408, 429), (400, 413, 422)  # HTTP: try again, and: never send this chat again
LOCAL = ('localhost', '127.0.0.1', '[::1]')
URL = re.compile(r'(https?)://([\w.-]+|\[[\da-f:]+\])(?::\d{1,5})?(?:/[\w./~-]*)?', re.ASCII)
NAME = re.compile(r'[A-Za-z_]\w*', re.ASCII)


class Refused(Exception):
    """The endpoint rejected this chat; the message says why."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model at an address; ValueError names the key of config.judge that is wrong."""

    url: str  # such as https://host/v1
    model: str
    key: str  # the environment variable that holds the key, if one is needed
    seconds: float = 120.0  # until a reply must be complete

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
        if not 0 < self.seconds <= LONGEST_WAIT:
            raise ValueError(
                f'judge.seconds={self.seconds}: must be above 0 and at most {LONGEST_WAIT}, e.g. '
                '120; a reply that is not complete by then is asked for again'
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


def ask(endpoint: Endpoint, messages: list[dict], sleep: Callable = time.sleep) -> str:
    """The reply of the model to a chat at temperature 0.

    While the endpoint is busy, failing or unreachable, or its reply is no chat completion, the chat
    is sent again after each of PAUSES, which `sleep` waits. Raises Refused if the endpoint rejects
    this chat or its reply is too long, ConnectionError if it cannot be asked at all.
    """
    chat = {'model': endpoint.model, 'temperature': 0, 'messages': messages}
    body = json.dumps(chat).encode()
    for pause in (*PAUSES, None):
        reply = send(endpoint, body)
        if reply.too_long:
            raise Refused(f'HTTP {reply.status}: a reply of more than {MOST_BYTES} bytes')
        said = content(reply.text) if reply.status == 200 else None
        if said is not None:
            return said
        if reply.status in REFUSED:
            raise Refused(f'HTTP {reply.status}: {reply.text!r:.300}')
        lasting = 0 < reply.status < 500 and reply.status not in (200, *BUSY)
        if pause is None or lasting:
            raise failure_of(endpoint, reply)
        # Requests under way at once must not all come back at the same moment.
        sleep(max(pause * (1 + random.random() / 2), min(reply.wait, LONGEST_PAUSE)))


def send(endpoint: Endpoint, body: bytes) -> Reply:
    """Sends a chat once; the key is removed from the reply."""
    headers = {'Content-Type': 'application/json'}
    if secret := endpoint.secret():
        headers['Authorization'] = f'Bearer {secret}'
    url = f'{endpoint.url.rstrip("/")}/chat/completions'
    reply = post(url, body, headers, endpoint.seconds, direct=endpoint.host in LOCAL)
    if secret:
        reply = dataclasses.replace(reply, text=reply.text.replace(secret, '[key]'))
    return reply


def content(reply: str) -> str | None:
    """The text of a chat completion, '' if the model says nothing; None if it is none."""
    try:
        said = json.loads(reply)['choices'][0]['message']['content']
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return said if isinstance(said, str) else ''


def failure_of(endpoint: Endpoint, reply: Reply) -> ConnectionError:
    """The error for an endpoint whose last reply is no answer."""
    if reply.status == 200:
        return ConnectionError(
            f'{endpoint.host} replies {reply.text!r:.200}, which is no chat completion: '
            'judge.endpoint must be OpenAI-compatible, such as https://host/v1'
        )
    reason = f'HTTP {reply.status}: {reply.text!r:.300}' if reply.status else reply.text
    return ConnectionError(
        f'{endpoint.host} cannot be asked: {reason}. Check judge.endpoint, judge.model and '
        'the environment variable that judge.key names. Verdicts so far are kept, and the '
        'same command continues from them'
    )
