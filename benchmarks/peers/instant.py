"""A server that answers every request at once: what it and its callers cost is the cost of HTTP alone."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Instant(asyncio.Protocol):
    """Reads whole requests of HTTP/1.1 with a Content-Length, and nothing else: its callers are the benchmark's own."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has come."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass
        self._head = b""
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        """Count the body's bytes; nobody sends a request before the last is answered."""
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            lengths = [
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            ]
            self._missing = int(lengths[0]) - len(body) if lengths else 0
            self._head = b""
        if self._missing <= 0:
            self._missing = 0
            self._transport.write(_ANSWER)


async def main(port: int) -> None:
    """Serve until a signal."""
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
