"""Serves the gateway over HTTP/1.1 on 127.0.0.1, from clients that are slow, rude or many too."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import socket
import threading
import time
from http import HTTPStatus
from http.client import LineTooLong
from types import TracebackType
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer
from werkzeug.wrappers import Response

from whippet.local.gateway import Gateway

log = logging.getLogger(__name__)

#: Connections that may wait to be accepted: many callers at once must not be refused.
BACKLOG = 1024
#: Connections at once, each with a thread; more are told to come back.
MAX_CONNECTIONS = 2048
#: Bytes of a request's first line and headers.
MAX_HEAD_BYTES = 65_536
#: Bytes of a body. They are held in memory, so this is less than the 5 GiB that S3 takes in one part:
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_BODY_BYTES = 1 << 30
#: Seconds for the head of the next request to come in whole, the silence before it included.
HEAD_SECONDS = 90.0
#: Seconds for a body to come in or go out, and how many more for each byte: 100 kB/s.
BODY_SECONDS, SECONDS_PER_BYTE = 60.0, 1e-5
#: Seconds between two looks at who is too slow.
WATCH_INTERVAL = 1.0
#: Seconds for calls under way when the server ends.
STOP_SECONDS = 2.0

_CHUNK_SIZE = re.compile(rb"\s*([0-9a-fA-F]{1,16})\s*(;.*)?\r?\n", re.DOTALL)


def listen(port: int) -> socket.socket:
    """Opens the port; 0 means any that is free.

    Raises:
        OSError: it is in use.
    """
    return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)


class RequestError(Exception):
    """A request that cannot be read to its end; the connection is of no more use."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Connections:
    """All open connections, with the moment until which each may keep its thread waiting.

    A limit for each read would not do: a client that sends a byte a minute keeps to it for days.
    """

    def __init__(self) -> None:
        self._deadlines: dict[socket.socket, float | None] = {}
        self._changed = threading.Condition()

    def add(self, connection: socket.socket) -> bool:
        """Notes a new connection; False where there are too many."""
        with self._changed:
            if len(self._deadlines) >= MAX_CONNECTIONS:
                return False
            self._deadlines[connection] = time.monotonic() + HEAD_SECONDS
            return True

    def remove(self, connection: socket.socket) -> None:
        """Forgets one that has ended."""
        with self._changed:
            self._deadlines.pop(connection, None)
            self._changed.notify_all()

    def expect(self, connection: socket.socket, seconds: float | None) -> None:
        """Gives the client so many seconds from now on; None while it waits for an answer."""
        with self._changed:
            if connection in self._deadlines:
                self._deadlines[connection] = None if seconds is None else time.monotonic() + seconds
                self._changed.notify_all()

    def end_late_ones(self) -> None:
        """Ends those whose time is over, whose threads wake up and end too."""
        now = time.monotonic()
        with self._changed:
            late = [one for one, deadline in self._deadlines.items() if deadline is not None and deadline < now]
        for connection in late:
            _shut(connection)

    def end(self, timeout: float) -> None:
        """Ends all of them, those that wait for an answer after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: None not in self._deadlines.values(), timeout)
            for connection in self._deadlines:
                _shut(connection)
            self._changed.wait_for(lambda: not self._deadlines, timeout)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Head:
    """The connection while the headers are read, of which there may not be too many."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readline(self, size: int = -1) -> bytes:
        line = self._stream.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("head")
        return line


class RequestHandler(MotoRequestHandler):
    """Speaks HTTP/1.1 with connections that are kept, so that a client's next call costs no new connection.

    werkzeug's own handler closes every connection, since it cannot know that the application has read the body to its
    end: this one reads it before the application is called.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # the head and the body of an answer leave in one piece
    server: HttpServer

    def parse_request(self) -> bool:
        """Reads the head of a request."""
        stream = self.rfile
        self.rfile = _Head(stream, MAX_HEAD_BYTES)  # type: ignore[assignment]
        try:
            return super().parse_request()
        finally:
            self.rfile = stream

    def handle_expect_100(self) -> bool:
        """Tells a client at once that it may send its body; left in the buffer, it would wait for a second."""
        try:
            self._body_length()
        except RequestError as error:
            self._refuse(error)
            return False
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def run_wsgi(self) -> None:
        """Answers one request."""
        connections = self.server.connections
        try:
            body = self._read_body()
        except RequestError as error:
            self._refuse(error)
            return
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(body)  # which moto and local AWS read as often as they like, and never copy
        environ["wsgi.input_terminated"] = True
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        connections.expect(self.connection, None)
        response = Response.from_app(self.server.app, environ, buffered=True)
        answer = response.get_data()
        connections.expect(self.connection, BODY_SECONDS + len(answer) * SECONDS_PER_BYTE)
        self.send_response(response.status_code)
        for name, value in response.headers:
            if name.lower() not in ("connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        has_body = self.command != "HEAD" and response.status_code not in (204, 304)
        if has_body and "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if has_body:
            self.wfile.write(answer)
        self.wfile.flush()
        connections.expect(self.connection, HEAD_SECONDS)

    def finish(self) -> None:
        """Ends the connection, also one whose client has gone without its answer."""
        with contextlib.suppress(OSError):
            super().finish()

    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing: the log is for what users need to know."""

    def _body_length(self) -> int | None:
        """How many bytes follow the head; None where the body says so itself, in chunks.

        Raises:
            RequestError: it is not known, or too many.
        """
        if encoding := self.headers.get("Transfer-Encoding"):
            if encoding.strip().lower() != "chunked":
                raise RequestError(HTTPStatus.NOT_IMPLEMENTED)
            return None
        lengths = set(self.headers.get_all("Content-Length", ["0"]))
        length = lengths.pop().strip()
        if lengths or not (length.isascii() and length.isdecimal()):
            raise RequestError(HTTPStatus.BAD_REQUEST)
        if int(length[:20]) > MAX_BODY_BYTES:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return int(length)

    def _read_body(self) -> bytes:
        """Reads the body of a request.

        Raises:
            RequestError: it cannot be read.
        """
        length = self._body_length()
        self.server.connections.expect(self.connection, BODY_SECONDS + (length or 0) * SECONDS_PER_BYTE)
        if length is not None:
            return self._read(length)
        chunks: list[bytes] = []
        total = 0
        while size := self._read_chunk_size():
            total += size
            if total > MAX_BODY_BYTES:
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self.server.connections.expect(self.connection, BODY_SECONDS + size * SECONDS_PER_BYTE)
            chunks.append(self._read(size))
            if self.rfile.readline(3) not in (b"\r\n", b"\n"):
                raise RequestError(HTTPStatus.BAD_REQUEST)
        trailer = _Head(self.rfile, MAX_HEAD_BYTES)
        try:
            while trailer.readline(MAX_HEAD_BYTES) not in (b"\r\n", b"\n", b""):
                pass
        except LineTooLong:
            raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
        return b"".join(chunks)

    def _read_chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(self.rfile.readline(1024))
        if match is None:
            raise RequestError(HTTPStatus.BAD_REQUEST)
        return int(match[1], 16)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError("The client has gone.")
        return data

    def _refuse(self, error: RequestError) -> None:
        self.close_connection = True
        self.send_error(error.status)


class HttpServer(ThreadedWSGIServer):
    """A thread for each connection.

    A fixed number of threads would stand still once each of them waited for a Lambda function that itself calls AWS.
    """

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self.connections = Connections()
        self._next_look = 0.0
        host, port = listener.getsockname()
        super().__init__(host, port, gateway, RequestHandler, fd=listener.fileno())

    def get_request(self) -> Any:
        """Accepts a connection."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error("Local AWS may open no more files: close connections, or raise `ulimit -n`.")
                time.sleep(WATCH_INTERVAL)  # the loop would come back at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts the thread of a connection."""
        if self.connections.add(request):
            super().process_request(request, client_address)
        else:
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self.connections.remove(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Looks after the connections now and then; called at least twice a second, and after each new one."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + WATCH_INTERVAL
            self.connections.end_late_ones()


class Server:
    """Serves a gateway from threads of its own."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._listener = listener
        self._server = HttpServer(gateway, listener)
        self._thread = threading.Thread(target=self._server.serve_forever, name="server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.connections.end(STOP_SECONDS)
        self._server.server_close()
        self._listener.close()
