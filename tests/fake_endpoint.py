"""A fake endpoint on this machine: it replies as a test tells it and records the chats it gets."""

import contextlib
import dataclasses
import http.server
import json
import socket
import struct
import threading
import time

from mer_jax.evaluation import endpoint

KEY = 'sk-nobody-may-see-this'


class Server(http.server.ThreadingHTTPServer):
    """A server with room for all requests at once."""

    request_queue_size = 64  # more than 5 at once


RESET = 'reset'  # instead of a reply, the connection is reset


@dataclasses.dataclass
class Drip:
    """A reply that never ends: after `begin`, a byte each `pause` seconds."""

    begin: str
    pause: float = 0.05

    def send(self, file):
        """Sends bytes until the other side is gone, at most 40."""
        with contextlib.suppress(OSError):
            file.write(self.begin.encode())
            for _ in range(40):
                file.write(b'x')
                time.sleep(self.pause)


class FakeEndpoint:
    """An endpoint that replies with `reply(chat)`: a text, (status, body, headers), RESET, Drip."""

    def __init__(self, reply):
        self.reply, self.seen, self.lock = reply, [], threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                chat = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
                with fake.lock:
                    fake.seen.append((self.path, dict(self.headers), chat))
                    said = fake.reply(chat)
                self.close_connection = True
                if said is RESET:
                    linger = struct.pack('ii', 1, 0)  # closes with a reset
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                if isinstance(said, Drip):
                    said.send(self.wfile)
                    return
                if isinstance(said, str):
                    said = 200, json.dumps({'choices': [{'message': {'content': said}}]}), {}
                status, body, headers = said
                self.send_response(status)
                for name, value in ({'Content-Length': len(body.encode())} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = Server(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}/v1'
        self.endpoint = endpoint.Endpoint(self.url, 'referee', 'TEST_JUDGE_KEY')
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def texts(self):
        """The texts of the user in all chats."""
        return [chat['messages'][1]['content'][0]['text'] for _, _, chat in self.seen]


@contextlib.contextmanager
def fake_endpoints(monkeypatch):
    """A function that opens fake endpoints, with a key in the environment and no pauses."""
    monkeypatch.setenv('TEST_JUDGE_KEY', KEY)
    monkeypatch.setattr(endpoint, 'PAUSES', (0, 0))
    opened = []

    def open_endpoint(reply):
        opened.append(FakeEndpoint(reply))
        return opened[-1]

    yield open_endpoint
    for fake in opened:
        fake.server.shutdown()
        fake.server.server_close()
