"""HTTP to a container: kept connections, and no request is ever sent twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage
from typing import NamedTuple

#: Seconds that an idle connection is used again. Servers close idle ones after a few seconds, and a request that
#: crosses such an end may or may not have been read: nobody could tell, so nobody might send it again.
MAX_IDLE = 1.0
#: Seconds to connect: the container is on this machine.
CONNECT_TIMEOUT = 5.0
CHUNK = 65536


class Answer(NamedTuple):
    """What a container has answered."""

    status: int
    headers: HTTPMessage
    body: bytes


class NotSentError(Exception):
    """No connection: nothing has reached the container."""


class NoAnswerError(Exception):
    """The container may have read the request, and has not answered it."""


class AnswerTimeoutError(NoAnswerError):
    """It did not answer in time."""


class AnswerTooLargeError(Exception):
    """It answered with more than is allowed."""


class Connections:
    """The connections to one port of this machine.

    Args:
        port: where the container listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[float, HTTPConnection]] = []  # the one used last is the last

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        limit: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends a request.

        Args:
            method: GET or POST.
            path: the path.
            timeout: seconds for the whole answer.
            limit: bytes that its body may have.
            body: the body.
            headers: the headers.

        Raises:
            NotSentError: the container does not listen.
            NoAnswerError: it has broken off, or takes too long.
            AnswerTooLargeError: the answer is larger than `limit`.
        """
        deadline = time.monotonic() + timeout
        connection = self._take()
        try:
            sock = connection.sock
            sock.settimeout(timeout)
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            chunks, size = [], 0
            while chunk := response.read1(CHUNK):
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise AnswerTooLargeError(f"more than {limit} bytes")
                sock.settimeout(max(0.001, deadline - time.monotonic()))
            if response.length:
                raise NoAnswerError(f"{response.length} bytes of the answer are missing")
            response.close()  # the connection can be used again
        except TimeoutError:
            connection.close()
            raise AnswerTimeoutError(f"no answer in {timeout:.0f} s") from None
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswerError(str(error) or type(error).__name__) from None
        except BaseException:
            connection.close()
            raise
        if not response.will_close:
            self._idle.append((time.monotonic(), connection))
        return Answer(response.status, response.headers, b"".join(chunks))

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _take(self) -> HTTPConnection:
        oldest = time.monotonic() - MAX_IDLE
        while self._idle:
            try:
                used_at, connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if used_at >= oldest:
                return connection
            connection.close()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotSentError(str(error)) from None
        return connection
