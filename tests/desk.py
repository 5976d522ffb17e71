"""An endpoint on this machine that replies what a test tells it, and remembers what it was sent."""

import contextlib
import http.server
import json
import threading

from mer_jax.evaluation import endpoint

KEY = 'sk-nobody-may-see-this'


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # more than 5 at once


class Desk:
    """An endpoint that replies what `reply(chat)` gives: a text, or (status, body, headers)."""

    def __init__(self, reply):
        self.reply, self.seen, self.lock = reply, [], threading.Lock()
        desk = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                chat = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
                with desk.lock:
                    desk.seen.append((self.path, dict(self.headers), chat))
                    said = desk.reply(chat)
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
        return [chat['messages'][1]['content'][0]['text'] for _, _, chat in self.seen]


@contextlib.contextmanager
def desks(monkeypatch):
    """Opens desks, with a key in the environment and no pause between tries."""
    monkeypatch.setenv('TEST_JUDGE_KEY', KEY)
    monkeypatch.setattr(endpoint, 'PAUSES', (0, 0))
    opened = []

    def open_desk(reply):
        opened.append(Desk(reply))
        return opened[-1]

    yield open_desk
    for desk in opened:
        desk.server.shutdown()
        desk.server.server_close()
