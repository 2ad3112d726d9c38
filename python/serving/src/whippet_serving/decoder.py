"""Decodes photos in processes of their own.

Photos are what strangers write, and libraries in C read them. A photo that crashes its decoder, fills its memory or
keeps it busy without end costs its sender an error and the server one of these processes, which is replaced; no other
answer is lost. The processes know nothing but the photo, and cannot open a file, a connection or a program.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import logging
import mmap
import os
import queue
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict
from http import HTTPStatus
from typing import IO, Any

import numpy as np
from PIL import Image

from whippet_serving.photo import MAX_PIXELS, Pixels, preprocess
from whippet_serving.preprocessing import Preprocessing
from whippet_serving.priority import give_way
from whippet_serving.problem import RequestError

logger = logging.getLogger("whippet_serving")

SECONDS = 10.0
"""How long a photo may take; the largest that are served take about one."""

MEMORY_BYTES = 2**30 + 2**28
"""What a decoder may hold: enough for 50 megapixels with transparency, each step of which is another 200 MB."""

MAX_ANSWER_BYTES = 10_000
"""More than a problem takes; a decoder that a photo has got hold of cannot fill the server's memory."""

_LENGTH = struct.Struct("!Q")

_DONE = b""
"""The answer where the pixels are in the shared memory; any other one is a problem."""

_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG")


class _EndedError(Exception):
    """The process ended before it answered."""


class Decoder:
    """A process that decodes one photo at a time.

    Args:
        preprocessing: What the network expects.
        max_pixels: A photo with more pixels is refused.
        seconds: How long a photo may take.
    """

    def __init__(self, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS, seconds: float = SECONDS) -> None:
        self._memory = _shared_memory(3 * preprocessing.crop**2)
        self._pixels = _pixels(self._memory, preprocessing)
        self._seconds = seconds
        self._settings = json.dumps(
            {"preprocessing": asdict(preprocessing), "max_pixels": max_pixels, "seconds": seconds}
        )
        self._start()

    def __call__(self, content: bytes) -> Pixels:
        """Decode a photo, cut out its centre and resize it.

        Returns:
            uint8 RGB pixels [crop, crop, 3].

        Raises:
            RequestError: 415 if the bytes are not of a served type, 422 if the photo is damaged, too large, takes too
                long, or ends its decoder twice.
        """
        for attempt in (1, 2):  # the first time it may have been ended by somebody else, and the photo be sound
            try:
                answer = self._ask(content)
                break
            except _EndedError:
                status = self._replace()
                if status == -signal.SIGALRM:
                    raise RequestError(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        f"The photo takes more than {self._seconds:g} s to decode; send a smaller one.",
                    ) from None
                if attempt == 2:
                    raise RequestError(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        "The photo cannot be decoded; save it again and send that file.",
                    ) from None
        if answer == _DONE:
            return self._pixels.copy()
        problem = json.loads(answer)
        raise RequestError(HTTPStatus(problem["status"]), problem["detail"])

    @property
    def pid(self) -> int:
        """Id of the process that decodes at present."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._memory.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(self._memory.fileno()), self._settings],
                # No credentials, and no more than one thread of BLAS, which would count as memory. Pillow keeps four
                # blocks, of 16 MB at most, from photo to photo: else the system hands out new pages for each
                env={"OPENBLAS_NUM_THREADS": "1", "PILLOW_BLOCKS_MAX": "4"}
                | {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), self._memory.fileno()],
                process_group=0,  # out of Ctrl-C's reach: it ends with the server, once that has answered
            )
        self._connection = ours

    def _ask(self, content: bytes) -> bytes:
        try:
            _send(self._connection, content)
            return _receive(self._connection, MAX_ANSWER_BYTES)
        except OSError as error:
            raise _EndedError from error

    def _replace(self) -> int:
        self._connection.close()
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        logger.warning("A decoder ended with status %d; another takes its place", status)
        self._start()
        return status


class Decoders:
    """Several decoders; as many threads may ask at once, and more wait.

    Args:
        count: How many processes.
        preprocessing: What the network expects.
        max_pixels: A photo with more pixels is refused.
        seconds: How long a photo may take.
    """

    def __init__(
        self, count: int, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS, seconds: float = SECONDS
    ) -> None:
        self._all = [Decoder(preprocessing, max_pixels, seconds) for _ in range(count)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)

    def __call__(self, content: bytes) -> Pixels:
        """See `Decoder`."""
        decoder = self._idle.get()
        try:
            return decoder(content)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the processes."""
        for decoder in self._all:
            decoder.close()


def _shared_memory(size: int) -> IO[bytes]:
    """A file that two processes can map and that nobody else can open."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("whippet-pixels"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the decoder
    file.truncate(size)
    return file


def _pixels(memory: IO[bytes], preprocessing: Preprocessing) -> Pixels:
    """The pixels in shared memory, [crop, crop, 3]."""
    shape = (preprocessing.crop, preprocessing.crop, 3)
    return np.frombuffer(mmap.mmap(memory.fileno(), 0), dtype=np.uint8).reshape(shape)


def _send(connection: socket.socket, message: bytes) -> None:
    """Send a message after its length, in one call: the other side would wake up for the length alone."""
    parts = [_LENGTH.pack(len(message)), message]
    sent = connection.sendmsg(parts)
    if sent < _LENGTH.size + len(message):
        connection.sendall(memoryview(b"".join(parts))[sent:])


def _receive(connection: socket.socket, limit: int) -> bytes:
    """Receive a message.

    Raises:
        OSError: If the other side is gone, or the message is longer than the limit.
    """
    [length] = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > limit:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = connection.recv(size, socket.MSG_WAITALL)
    while len(content) < size:  # a signal came between
        more = connection.recv(size - len(content), socket.MSG_WAITALL)
        if not more:
            raise ConnectionResetError
        content += more
    return content


def _decode_all(
    connection: socket.socket, pixels: Pixels, preprocessing: Preprocessing, limits: dict[str, Any]
) -> None:
    while True:
        content = _receive(connection, sys.maxsize)
        signal.setitimer(signal.ITIMER_REAL, limits["seconds"])  # whose signal ends the process, even within a library
        try:
            pixels[:] = preprocess(content, preprocessing, limits["max_pixels"])
            answer = _DONE
        except RequestError as error:
            answer = json.dumps({"status": error.status, "detail": str(error)}).encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(connection, answer)


def _confine() -> None:
    """Give up all that a decoder does not need; what is open stays so."""
    give_way()
    for kind, limit in (
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):  # not every system knows each
            resource.setrlimit(kind, (limit, limit))


def _main() -> None:
    warnings.simplefilter("ignore")  # what is odd about a photo is no concern of the operator's
    limits = json.loads(sys.argv[3])
    preprocessing = Preprocessing(**limits.pop("preprocessing"))
    with os.fdopen(int(sys.argv[2]), "r+b") as memory:
        pixels = _pixels(memory, preprocessing)
    # the server ends its decoders by closing the connection
    with socket.socket(fileno=int(sys.argv[1])) as connection, contextlib.suppress(ConnectionError):
        _load_plugins()
        _confine()
        _decode_all(connection, pixels, preprocessing, limits)


def _load_plugins() -> None:
    """Import Pillow's parsers now, while files can be opened."""
    Image.preinit()
    for name in ("Jpeg", "Mpo", "Png", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")


if __name__ == "__main__":
    _main()
