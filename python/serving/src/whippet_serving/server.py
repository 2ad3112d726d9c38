from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn

from whippet_serving.app import Limits, create_app
from whippet_serving.classifier import load_classifier
from whippet_serving.engine import EngineChoice

logger = logging.getLogger("whippet_serving")

DRAIN_TIMEOUT_S = 25
"""SageMaker sends SIGKILL 30 s after SIGTERM."""

KEEP_ALIVE_S = 75
"""Callers pool connections; one that closes under a request that is on its way costs that caller an error."""


class AddressError(Exception):
    """An address that the server cannot listen on; the text is one line that says why."""


def serve(model: Path, host: str, port: int, engine: EngineChoice, max_body_bytes: int, access_log: bool) -> None:
    """Serve a model until SIGTERM or SIGINT; requests in flight are answered first.

    Nothing listens before the model has answered, so that whoever connects is served.

    Args:
        model: A model.tar.gz, or the folder it was unpacked to.
        host: Name or address to listen on.
        port: Port to listen on; 0 takes a free one, which the log names.
        engine: The engine, or ``auto``.
        max_body_bytes: Larger bodies are refused.
        access_log: Write a line to the log for every request.

    Raises:
        AddressError: If the address cannot be listened on.
        ModelError: If the model cannot be served.
        SystemExit: With 0, on SIGTERM or SIGINT.
    """
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, _exit)
    with _bind(host, port) as listener:  # before the model loads, so that a port in use is told at once
        cores = _available_cores()
        classifier = load_classifier(model, engine, cores)
        with ThreadPoolExecutor(cores, thread_name_prefix="classify") as executor:
            config = uvicorn.Config(
                create_app(classifier, executor, Limits(body_bytes=max_body_bytes)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=access_log,
                server_header=False,
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
            uvicorn.Server(config).run(sockets=[listener])


def _exit(signal_: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
