from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from whippet_serving.one_packet import OnePacketProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """Records the packets that are sent, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.packets.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"ok"})


def packets(
    request: bytes, then: Callable[[OnePacketProtocol, Wire], object] = lambda *_: None, turns: int = 5
) -> list[bytes]:
    """What a connection gets on which a request comes in, and a turn later something else."""

    async def connect() -> list[bytes]:
        wire = Wire()
        protocol = OnePacketProtocol(uvicorn.Config(app, lifespan="off"), ServerState(), {})
        protocol.connection_made(wire)
        protocol.data_received(request)
        await asyncio.sleep(0)  # in which the application answers
        then(protocol, wire)
        await asyncio.sleep(0.1)
        protocol.connection_lost(None)
        return wire.packets

    return asyncio.run(connect())


def test_sends_head_and_body_together() -> None:
    [packet] = packets(REQUEST)

    assert packet.startswith(b"HTTP/1.1 200 OK\r\n")
    assert packet.endswith(b"\r\n\r\nok")


def test_sends_them_to_a_caller_that_has_closed_its_side() -> None:
    def half_close(protocol: OnePacketProtocol, wire: Wire) -> None:
        protocol.eof_received()
        wire.close()  # as transports do by themselves when that returns nothing

    [packet] = packets(REQUEST, half_close)

    assert packet.endswith(b"ok")


def test_sends_them_before_it_closes() -> None:
    [packet] = packets(REQUEST.replace(b"host", b"connection: close\r\nhost"))

    assert packet.endswith(b"ok")


def test_does_not_hold_a_head_back_whose_body_takes_time() -> None:
    head, body = packets(REQUEST.replace(b"/ ", b"/slow "))

    assert head.endswith(b"\r\n\r\n")
    assert body == b"ok"


@pytest.mark.parametrize("number", [2, 5])
def test_answers_requests_that_come_at_once_in_their_order(number: int) -> None:
    assert b"".join(packets(REQUEST * number)).count(b"ok") == number
