"""Kept connections to one address, by the standard library's client: urllib3 takes twice as long to import."""

from __future__ import annotations

import select
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

CONNECT_SECONDS = 2.0


class Answer(NamedTuple):
    """What the other side said.

    Attributes:
        status: HTTP status.
        headers: Its headers.
        body: Its body.
    """

    status: int
    headers: HTTPMessage
    body: bytes


class ConnectionFailedError(Exception):
    """The connection could not be made, or was cut; the text names the kind of error. Another try may succeed."""


class Connections:
    """Connections to one address, kept from call to call.

    A call takes one for itself, so that work which was given up, and still waits for its answer, keeps nobody's answer.

    Args:
        url: `http://` or `https://`, a host, and a port where it is not the scheme's own; a path is not looked at.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        # Reading the authorities takes its time: now, where Lambda lends a whole processor, and not at the first call.
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: list[HTTPConnection] = []  # append and pop are atomic
        #: How many connections were opened.
        self.opened = 0

    def post(self, path: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        """Sends a request and reads its answer.

        Args:
            path: Path of the address.
            headers: Headers, Host included.
            body: The body, which is sent as it is, not copied.
            seconds: How long to wait for the next packet.

        Raises:
            TimeoutError: The other side took the connection but said nothing for that long.
            ConnectionFailedError: No connection within two seconds, or it was cut.
        """
        connection = self._take(seconds)
        kept = False
        try:
            connection.request("POST", path, body, headers)
            with connection.getresponse() as response:
                answer = Answer(response.status, response.headers, response.read())
                kept = not response.will_close
        except TimeoutError:
            raise
        except (OSError, HTTPException) as error:
            raise ConnectionFailedError(type(error).__name__) from None
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    def _take(self, seconds: float) -> HTTPConnection:
        while self._idle:
            connection = self._idle.pop()
            if _is_usable(connection):
                connection.sock.settimeout(seconds)
                return connection
            connection.close()
        connect_seconds = min(CONNECT_SECONDS, seconds)
        connection = (
            HTTPConnection(self._host, self._port, timeout=connect_seconds)
            if self._tls is None
            else HTTPSConnection(self._host, self._port, timeout=connect_seconds, context=self._tls)
        )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise ConnectionFailedError(type(error).__name__) from None
        connection.sock.settimeout(seconds)
        self.opened += 1
        return connection


def _is_usable(connection: HTTPConnection) -> bool:
    """Whether an idle connection is still open: one that has something to read was closed by the other side.

    Lambda freezes an environment between calls, so connections that the service drops are common, not rare.
    """
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)
