"""An emulator of Google Cloud Storage on a local port, with faults that a test can switch on.

The emulator is the package gcp-storage-emulator. TensorStore needs the generation of an object in
the answer to a download, which the emulator leaves out, so it is added here.
"""

import contextlib
import functools
import http.server
import logging
import os
import re
import sys
import threading
import time
from unittest import mock

from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import HANDLERS, RequestHandler
from gcp_storage_emulator.storage import Storage

BUCKET = 'bucket'
plain_download = objects.download


def download(request, response, storage):
    """Answers a download as the emulator does, and adds the generation."""
    plain_download(request, response, storage)
    if response.status < 400:
        place = request.params['bucket_name'], request.params['object_id']
        response['x-goog-generation'] = storage.get_file_obj(*place)['generation']


def add_generation():
    """Puts `download` above in the place of the emulator's own, for this process."""
    objects.download = download
    for _, methods in HANDLERS:
        for verb, handler in methods.items():
            methods[verb] = download if handler is plain_download else handler


class Handler(RequestHandler):
    """Answers one request, or fails as the server was told to."""

    def parse_request(self):
        if not super().parse_request():
            return False
        self.server.requests.append(f'{self.command} {self.path}')
        for pattern, fault in self.server.faults:
            if re.search(pattern, self.server.requests[-1]):
                return fault(self)
        return True

    def do_GET(self):
        with self.server.lock:
            super().do_GET()

    def do_POST(self):
        with self.server.lock:
            super().do_POST()

    def do_PUT(self):
        with self.server.lock:
            super().do_PUT()

    def do_DELETE(self):
        with self.server.lock:
            super().do_DELETE()


class BucketServer(http.server.ThreadingHTTPServer):
    """The emulator with one bucket, `bucket`; it answers one request at a time."""

    daemon_threads = True

    def __init__(self, port=0):
        self.faults, self.requests, self.lock = [], [], threading.Lock()
        self.storage = Storage(use_memory_fs=True)
        buckets.create_bucket(BUCKET, self.storage)
        super().__init__(('127.0.0.1', port), functools.partial(Handler, self.storage))

    def handle_error(self, request, client_address):
        """Leaves out the connections that clients close before the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'

    @property
    def variables(self):
        """The environment of a program that takes this server for Google's."""
        return {
            'STORAGE_EMULATOR_HOST': self.url,
            'TENSORSTORE_GCS_HTTP_URL': self.url,
            'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',  # asks other servers about the bucket
            'FSSPEC_GCS_TOKEN': 'anon',
            'NO_GCE_CHECK': 'true',
        }

    @contextlib.contextmanager
    def failing(self, pattern, fault):
        """Lets requests fail whose method and path match a pattern."""
        self.faults.append((pattern, fault))
        try:
            yield
        finally:
            self.faults.pop()


def forbidden(handler):
    """Refuses a request."""
    return refuse(handler, 403, 'does not have storage.objects access')


def unavailable(handler):
    """Answers that the server is too busy."""
    return refuse(handler, 503, 'try again')


def refuse(handler, status, message):
    body = f'{{"error": {{"code": {status}, "message": "{message}"}}}}'.encode()
    handler.send_response(status)
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return False


def dropped(handler):
    """Closes the connection without an answer."""
    handler.close_connection = True
    return False


def silent(seconds):
    """Answers after so many seconds."""

    def fault(handler):
        time.sleep(seconds)
        return True

    return fault


@contextlib.contextmanager
def serving():
    """A server in a thread; this process and those that it starts take it for Google's."""
    with BucketServer() as server, mock.patch.dict(os.environ, server.variables):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


add_generation()
logging.getLogger('gcp_storage_emulator').setLevel(logging.CRITICAL)  # a missing object is none
if __name__ == '__main__':  # for trials by hand: python tests/bucket_server.py PORT
    server = BucketServer(int(sys.argv[1]))
    print(' '.join(f'{key}={value}' for key, value in server.variables.items()), flush=True)
    server.serve_forever()
