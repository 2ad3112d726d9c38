from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.lambda_function import Runtime
from whippet_lambda.config import Config


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            reply = made.replies.pop(0) if len(made.replies) > 1 else made.replies[0]
            reply.before()
            raw = json.dumps(reply.document).encode()
            self.send_response(reply.status)
            self.send_header("content-length", str(len(raw)))
            if reply.error_type:
                self.send_header("x-amzn-errortype", reply.error_type)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Runtime(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def config() -> Config:
    return Config("breeds", frozenset({"images.example.org"}))
