from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OnePacketProtocol(HttpToolsProtocol):
    """Sends a response in one packet: uvicorn writes its head and its body one by one, and callers wake up for each."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self._joining = _Joining(transport)
        super().connection_made(cast(asyncio.Transport, self._joining))

    def eof_received(self) -> None:
        """See `asyncio.Protocol`: as uvicorn does not ask for more time, the transport closes after this."""
        self._joining.flush()
        super().eof_received()


class _Joining:
    """A transport that sends together what is written until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()
