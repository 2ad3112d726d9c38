from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from whippet.local.functions.runtime_api import Invocation, RuntimeApi


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    api = RuntimeApi(on_idle=lambda: None, on_event=lambda: None)
    with contextlib.closing(api):
        yield api


def connected(api: RuntimeApi) -> socket.socket:
    host, port = api.address.split(":")
    return socket.create_connection((host, int(port)))


def test_a_process_that_is_ended_in_a_request_is_no_news(
    api: RuntimeApi, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with connected(api) as runtime:
        runtime.sendall(b"GET /2018-06-01/runtime/inv")
        # Closed with a reset, as the kernel does for a process that has not read all it was sent.
        runtime.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connected(api) as runtime:  # the next one is served
        api.submit(Invocation("1", b"{}", {}))
        runtime.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
        assert runtime.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert capfd.readouterr().err == ""
    assert caplog.text == ""
