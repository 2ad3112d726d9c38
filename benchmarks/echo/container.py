"""An inference container with next to nothing in it: what a call of it takes is what lies between it and the caller."""

import os
import socketserver
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    """Answers health checks, and every invocation with the number of bytes that have come."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """`GET /ping`."""
        self._answer(b"")

    def do_POST(self) -> None:
        """`POST /invocations`."""
        self._answer(b"%d" % len(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


address = ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
# Not http.server's own server, which asks the name service for this machine's name.
with socketserver.ThreadingTCPServer(address, Handler) as server:
    server.daemon_threads = True
    server.serve_forever()
