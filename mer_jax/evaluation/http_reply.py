"""One HTTP request, with limits on its whole time and on the size of its reply.

The time limit of a socket holds for one read alone, so a server that sends a byte now and then
would hold a request for ever. Here each read and write gets the time that is left.
"""

import dataclasses
import email.utils
import http.client
import io
import math
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping

MOST_BYTES = 1 << 20  # of a reply
REDIRECTS = (301, 302, 303, 307, 308)


@dataclasses.dataclass(frozen=True)
class Reply:
    """The reply to a request; without one, status 0 and the reason as text."""

    status: int
    text: str
    wait: float = 0.0  # seconds to wait before another try, as it asks
    too_long: bool = False  # it had more than MOST_BYTES, and the text is cut


def post(
    url: str, body: bytes, headers: Mapping[str, str], seconds: float, direct: bool = False
) -> Reply:
    """Sends a body once and returns the reply, which must be complete after so many seconds.

    Redirections are not followed: they could send a key to another host. With `direct`, proxies of
    the environment are not used.
    """
    deadline = _Deadline(time.monotonic() + seconds)
    without_proxies = [urllib.request.ProxyHandler({})] if direct else []
    opener = urllib.request.build_opener(_NoRedirects, _Timed(deadline), *without_proxies)
    request = urllib.request.Request(url, body, dict(headers))
    try:
        with opener.open(request, timeout=seconds) as reply:
            data = reply.read(MOST_BYTES + 1)
            cut = len(data) <= MOST_BYTES and reply.length
            wait = seconds_of(reply.headers.get('Retry-After', ''))
            target = reply.headers.get('Location', '')
            status = reply.status
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        if deadline.passed():
            return Reply(0, f'no whole reply after {seconds:g} s')
        return Reply(0, str(error) or type(error).__name__)
    if cut:
        return Reply(0, f'the reply was cut off after {len(data)} bytes')
    text = data[:MOST_BYTES].decode(errors='replace')
    if status in REDIRECTS:
        text = f'redirects to {_host_of(target)}, which is not followed: the key would be sent on'
    return Reply(status, text, wait, len(data) > MOST_BYTES)


def seconds_of(retry_after: str) -> float:
    """The seconds that a Retry-After header asks to wait: a number or a date; 0 for neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        at = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, math.ceil(at - time.time()))


def _host_of(target: str) -> str:
    """The host of a redirection; the rest of an address may hold secrets."""
    try:
        return urllib.parse.urlsplit(target).hostname or 'another path'
    except ValueError:
        return 'another address'


class _NoRedirects(urllib.request.HTTPErrorProcessor):
    """Returns every reply as it is."""

    def http_response(self, request, response):
        return response

    https_response = http_response


@dataclasses.dataclass(frozen=True)
class _Deadline:
    """A time of the monotonic clock."""

    at: float

    def passed(self) -> bool:
        """Whether it is in the past."""
        return time.monotonic() >= self.at

    def left(self) -> float:
        """The seconds until then; TimeoutError if it is past."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError('timed out')
        return left


class _Timed(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens connections whose reads and writes all end at one deadline."""

    def __init__(self, deadline: _Deadline):
        super().__init__()
        self.deadline = deadline

    def http_open(self, request):
        return self.do_open(self._connections(http.client.HTTPConnection), request)

    def https_open(self, request):
        return self.do_open(self._connections(http.client.HTTPSConnection), request)

    def _connections(self, kind: type[http.client.HTTPConnection]):
        """A kind of connection that ends at the deadline."""
        deadline = self.deadline

        class Timed(kind):
            def connect(self):
                self.timeout = deadline.left()
                super().connect()
                self.sock = _TimedSocket(self.sock, deadline)

        return Timed


class _TimedSocket:
    """The part of a socket that `http.client` uses once it is connected."""

    def __init__(self, sock: socket.socket, deadline: _Deadline):
        self.sock, self.deadline = sock, deadline

    def sendall(self, data):
        """Sends all data before the deadline."""
        self.sock.settimeout(self.deadline.left())
        self.sock.sendall(data)

    def makefile(self, mode: str):
        """The received bytes as a file."""
        return io.BufferedReader(_TimedFile(self.sock, self.deadline))

    def close(self):
        """Closes the socket, once its file is closed too."""
        self.sock.close()


class _TimedFile(io.RawIOBase):
    """The bytes that a socket receives before a deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline):
        self.sock, self.deadline = sock, deadline
        self.file = sock.makefile('rb', buffering=0)

    def readable(self):
        return True

    def readinto(self, buffer):
        self.sock.settimeout(self.deadline.left())
        return self.file.readinto(buffer)

    def close(self):
        self.file.close()
        super().close()
