from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn

from whippet_serving.app import Limits, Service, create_app
from whippet_serving.archive import open_archive
from whippet_serving.classifier import Classifier
from whippet_serving.decoder import Decoders
from whippet_serving.engine import EngineSettings, available_cores, load_engine
from whippet_serving.one_packet import OnePacketProtocol
from whippet_serving.traces import traced

logger = logging.getLogger("whippet_serving")

DRAIN_TIMEOUT_S = 25
"""SageMaker sends SIGKILL 30 s after SIGTERM."""

LINGER_S = 1.0
"""How long a server that was told to end still takes requests over kept connections."""

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that wants Python's lock waits for one that does not let go of it by itself. While requests flood
in, that is the event loop, and each photo's thread wants the lock several times: at Python's 5 ms cores would idle."""

SPARE_THREADS = 4
"""More photos than cores are worked on, so that no core waits while photos change hands."""

KEEP_ALIVE_S = 75
"""Callers pool connections; one that closes under a request that is on its way costs that caller an error."""


class AddressError(Exception):
    """An address that the server cannot listen on; the text is one line that says why."""


def serve(model: Path, host: str, port: int, engine: EngineSettings, limits: Limits, traces: bool = False) -> None:
    """Serve a model until SIGTERM or SIGINT; requests in flight are answered first.

    Nothing listens before the model has answered, so that whoever connects is served.

    Args:
        model: A model.tar.gz, or the folder it was unpacked to.
        host: Name or address to listen on.
        port: Port to listen on; 0 takes a free one, which the log names.
        engine: What of the engine is fixed.
        limits: What callers can claim of the server.
        traces: Send a trace of every request, see `traced`.

    Raises:
        AddressError: If the address cannot be listened on.
        ModelError: If the model cannot be served.
        TracesError: If traces cannot be written.
        SystemExit: With 0, on SIGTERM or SIGINT.
    """
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, _exit)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with (
        ExitStack() as stack,
        _bind(host, port) as listener,  # before the model loads, so that a port in use is told at once
        open_classifier(model, engine) as classifier,
        ThreadPoolExecutor(_threads(classifier, engine), thread_name_prefix="classify") as executor,
    ):
        service = Service(classifier, executor, limits)
        app = create_app(service)
        config = uvicorn.Config(
            stack.enter_context(traced(app)) if traces else app,
            http=OnePacketProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here looks at the caller's address
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        )
        try:
            listener.listen(config.backlog)
        except OSError as error:
            raise _address_error(host, port, error) from error
        address, bound_port = listener.getsockname()[:2]
        logger.info(
            "Serving %s %s with %s on http://%s:%d",
            classifier.archive.name,
            classifier.archive.id,
            classifier.engine.name,
            f"[{address}]" if ":" in address else address,
            bound_port,
        )
        # on a signal uvicorn drains, then raises the signal again, for _exit
        _Server(config, service, listener).run(sockets=[listener])


@contextmanager
def open_classifier(path: Path, settings: EngineSettings) -> Iterator[Classifier]:
    """Load a model archive, let it answer once, and start a decoder for each core, until the context ends.

    Args:
        path: A model.tar.gz, or the folder it was unpacked to.
        settings: What of the engine is fixed.

    Raises:
        ModelError: If the model cannot be served.
    """
    with ExitStack() as stack:
        with open_archive(path) as archive:
            decoders = stack.enter_context(closing(Decoders(available_cores(), archive.preprocessing)))
            classifier = Classifier(archive, load_engine(archive, settings), decoders)
        yield classifier


def _threads(classifier: Classifier, settings: EngineSettings) -> int:
    return max(settings.threads or available_cores(), classifier.engine.callers) + SPARE_THREADS


class _Server(uvicorn.Server):
    """Hears its kept connections out when it is told to end.

    A caller may be sending over one just as it is closed, which costs that caller an error. So it listens no more, but
    goes on answering for a moment, and says in every answer that the connection closes; only those that nobody has used
    since are cut.
    """

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket) -> None:
        super().__init__(config)
        self._service = service
        self._listener = listener

    async def main_loop(self) -> None:
        await super().main_loop()
        self._service.draining = True
        for server in self.servers:
            server.close()
        self._listener.close()
        until = time.monotonic() + LINGER_S
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.05)


def _exit(signal_: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, type_, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, type_, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise _address_error(host, port, error) from error
    return listener


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"port {port} on {host} is in use: stop what listens there, or choose another with --port")
    return AddressError(f"cannot listen on {host} port {port}: {error.strerror or error}")
