"""Serves the gateway over HTTP on 127.0.0.1."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from whippet.local.gateway import Gateway

#: Connections that may wait to be accepted: many callers at once must not be refused.
BACKLOG = 1024


def listen(port: int) -> socket.socket:
    """Opens the port; 0 means any that is free.

    Raises:
        OSError: it is in use.
    """
    return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)


class RequestHandler(MotoRequestHandler):
    """Speaks HTTP/1.1 with connections that are kept, so that a client's next call costs no new connection.

    werkzeug's own handler closes every connection, since it cannot know that the application has read the body to its
    end: the gateway always has.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # the head and the body of an answer leave in one piece

    def handle_expect_100(self) -> bool:
        """Tells a client at once that it may send its body; left in the buffer, it would wait for a second."""
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def run_wsgi(self) -> None:
        """Answers one request."""
        response = Response.from_app(self.server.app, self.make_environ(), buffered=True)
        self.send_response(response.status_code)
        for name, value in response.headers:
            if name.lower() not in ("connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        body = response.get_data()
        has_body = self.command != "HEAD" and response.status_code not in (204, 304)
        if has_body and "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)

    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing: the log is for what users need to know."""


class Server:
    """Serves a gateway from threads of its own, one for each connection.

    A fixed number of threads would stand still once each of them waited for a Lambda function that itself calls AWS.
    """

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        host, port = listener.getsockname()
        self._listener = listener
        self._server = make_server(
            host, port, gateway, threaded=True, request_handler=RequestHandler, fd=listener.fileno()
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._listener.close()
