from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from whippet.local.endpoints.connections import (
    AnswerTimeoutError,
    AnswerTooLargeError,
    Connections,
    NoAnswerError,
    NotSentError,
)
from whippet.local.endpoints.instances import free_port

Serve = Callable[[socket.socket], None]


class Server:
    """Answers each connection as a function says."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.accepted = 0
        self.serve: Serve = lambda connection: None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            self.serve(connection)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.listener.close()


def ask(server: Server, timeout: float = 10.0) -> bytes:
    return Connections(server.port).request("POST", "/", timeout=timeout, limit=100, body=b"body").body


def test_a_connection_is_used_again(server: Server) -> None:
    def serve(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server.serve = serve
    connections = Connections(server.port)
    for _ in range(3):
        answer = connections.request("POST", "/", timeout=10.0, limit=100, body=b"body", headers={"Accept": "x"})
        assert (answer.status, answer.body) == (200, b"ok")
    connections.close()
    assert server.accepted == 1


def test_nothing_is_sent_where_nobody_listens() -> None:
    with pytest.raises(NotSentError):
        Connections(free_port()).request("GET", "/ping", timeout=10.0, limit=100)


@pytest.mark.parametrize(
    "sent",
    [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
    ids=["nothing", "no HTTP", "half an answer"],
)
def test_a_container_that_breaks_off_has_not_answered_and_is_not_asked_again(server: Server, sent: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(sent)

    server.serve = serve
    with pytest.raises(NoAnswerError):
        ask(server)
    assert server.accepted == 1


def test_a_container_that_dribbles_is_not_waited_for_longer_than_one_that_is_silent(server: Server) -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n")
        for _ in range(90):
            if done.wait(0.1):
                return
            connection.sendall(b"x")

    server.serve = serve
    with pytest.raises(AnswerTimeoutError):
        ask(server, timeout=0.5)
    done.set()


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(server: Server) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + bytes(101))

    server.serve = serve
    with pytest.raises(AnswerTooLargeError):
        ask(server)
