from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from support.lambda_function import Runtime
from whippet_lambda.connection import ConnectionFailedError, Connections


def post(connections: Connections, seconds: float = 30) -> int:
    return connections.post("/", {"host": "x"}, b"photo", seconds).status


@pytest.fixture
def closing_server() -> Iterator[str]:
    """Answers one request on each connection as if it kept it, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received = b""
                    while not received.endswith(b"photo"):
                        received += connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_was_dropped_while_idle_is_replaced_before_the_next_call(closing_server: str) -> None:
    connections = Connections(closing_server)
    assert post(connections) == 200
    [kept] = connections._idle
    kept.sock.recv(1, socket.MSG_PEEK)  # waits until the server has closed it
    assert post(connections) == 200
    assert connections.opened == 2


def test_work_that_was_given_up_keeps_no_connection_and_no_answer_of_another_call(runtime: Runtime) -> None:
    connections = Connections(runtime.url)
    release = threading.Event()
    runtime.replies[0].before = lambda: release.wait(30)
    try:
        with pytest.raises(TimeoutError):
            post(connections, seconds=0.1)
        assert connections._idle == []
    finally:
        release.set()
    assert post(connections) == 200
    assert connections.opened == 2


def test_nobody_listening_is_a_failed_connection() -> None:
    with pytest.raises(ConnectionFailedError, match="ConnectionRefusedError"):
        post(Connections("http://127.0.0.1:9"))
