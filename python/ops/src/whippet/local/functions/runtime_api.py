"""The Lambda Runtime API that one environment talks to: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

from __future__ import annotations

import logging
import queue
import re
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

log = logging.getLogger(__name__)

_PREFIX = "/2018-06-01/runtime"
_REPORT = re.compile(rf"{_PREFIX}/invocation/(?P<request_id>[^/]+)/(?P<kind>response|error)")


@dataclass(frozen=True)
class Invocation:
    """An event for the function.

    Attributes:
        request_id: the id that the function and the logs see.
        body: the event, JSON.
        headers: what the runtime is told about it, such as its deadline.
    """

    request_id: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Ready:
    """The init phase is over: the runtime asks for its first event."""


@dataclass(frozen=True)
class InitError:
    """The init phase failed.

    Attributes:
        error_type: as in Runtime.ImportModuleError.
        body: the error, JSON.
    """

    error_type: str
    body: bytes


@dataclass(frozen=True)
class Result:
    """The function has answered, or failed.

    Attributes:
        is_error: whether the function raised.
        body: its answer or its error, JSON.
    """

    is_error: bool
    body: bytes


@dataclass(frozen=True)
class Exited:
    """The process has ended."""


Event = Ready | InitError | Result | Exited


class RuntimeApi:
    """Serves one environment on a port of its own.

    Args:
        on_idle: called when the runtime asks for an event and there is none.
        on_event: called when there is one.

    Attributes:
        address: what `AWS_LAMBDA_RUNTIME_API` is to be.
        events: what the environment reports, in order.
    """

    def __init__(self, on_idle: Callable[[], None], on_event: Callable[[], None]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._is_ready = False
        self._request_id = ""  # of the event that is being handled
        self._on_idle = on_idle
        self._on_event = on_event
        self._handing_over = threading.Lock()  # an event must not come between a look at the queue and the freezing
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def submit(self, invocation: Invocation) -> None:
        """Gives the environment its next event."""
        with self._handing_over:
            self._request_id = invocation.request_id
            self._invocations.put(invocation)
            self._on_event()

    def close(self) -> None:
        """Stops serving."""
        self._invocations.put(None)
        threading.Thread(target=self._shut_down, daemon=True).start()

    def _shut_down(self) -> None:
        self._server.shutdown()  # takes up to half a second, which no caller should wait for
        self._server.server_close()

    def next(self) -> Invocation | None:
        """What the runtime is to do next, as soon as there is something; None when there will be no more."""
        if not self._is_ready:
            self._is_ready = True
            self.events.put(Ready())
        with self._handing_over:
            if self._invocations.empty():
                self._on_idle()
        invocation = self._invocations.get()
        if invocation is None:
            self._invocations.put(None)  # for whatever else in the environment waits
        return invocation

    def report(self, request_id: str, is_error: bool, body: bytes) -> bool:
        """Takes what became of an event; False where that event is not being handled."""
        with self._handing_over:
            if request_id != self._request_id:
                return False
            self._request_id = ""
        self.events.put(Result(is_error, body))
        return True

    def report_init_error(self, error_type: str, body: bytes) -> bool:
        """Takes why the init phase failed; False where it is over."""
        if self._is_ready:
            return False
        self.events.put(InitError(error_type, body))
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    api: RuntimeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what went wrong here, and nothing of a process that was ended in the middle of a request."""
        if not isinstance(error := sys.exc_info()[1], ConnectionError):
            log.error("the Runtime API failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without TCP_NODELAY a call takes 44 ms: Nagle's algorithm waits for libcurl's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{_PREFIX}/invocation/next":
            self._answer(404)
            return
        invocation = self.server.api.next()
        if invocation is None:
            self.close_connection = True
            return
        # awslambdaric decodes the event by its content type, and fails where there is none.
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            **invocation.headers,
        }
        self._answer(200, invocation.body, headers)

    def do_POST(self) -> None:
        body, api = self._body(), self.server.api
        if match := _REPORT.fullmatch(self.path):
            self._answer(202 if api.report(match["request_id"], match["kind"] == "error", body) else 400)
        elif self.path == f"{_PREFIX}/init/error":
            error_type = self.headers.get("Lambda-Runtime-Function-Error-Type", "Runtime.Unknown")
            self._answer(202 if api.report_init_error(error_type, body) else 403)
        else:
            self._answer(404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the gateway's log is for what users need to know."""
