"""The server against clients that are slow, rude or many."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from whippet.local import server
from whippet.local.gateway import STATUS_PATH

STATUS = f"GET {STATUS_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture
def connect(local_aws: Any) -> Iterator[Any]:
    """Opens connections; those that a test leaves open are closed."""
    opened: list[socket.socket] = []

    def open_one() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", local_aws.settings.port), timeout=20))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def status_line(connection: socket.socket) -> str:
    return connection.makefile("rb").readline().decode().strip()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, after what it had to say."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def handlers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_a_thousand_connections_are_served_and_leave_no_thread(local_aws: Any, connect: Any) -> None:
    before = handlers()
    connections = [connect() for _ in range(1000)]
    for connection in connections:
        connection.sendall(STATUS)
    assert {status_line(connection) for connection in connections} == {"HTTP/1.1 200 OK"}
    for connection in connections:
        connection.close()
    local_aws.eventually(lambda: handlers() <= before)


def test_one_connection_too_many_is_told_to_come_back(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 0)
    refused = connect()
    assert status_line(refused) == "HTTP/1.1 503 Service Unavailable"
    monkeypatch.undo()
    served = connect()
    served.sendall(STATUS)
    assert status_line(served) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTT", STATUS[:-2], b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"],
    ids=["nothing", "half a line", "half a head", "half a body"],
)
def test_a_client_that_does_not_go_on_loses_its_connection(
    local_aws: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "WATCH_INTERVAL"):
        monkeypatch.setattr(server, name, 0.2)
    before = handlers()
    connection = connect()
    connection.sendall(sent)
    assert is_closed(connection)
    local_aws.eventually(lambda: handlers() <= before)


def test_a_client_that_sends_a_byte_now_and_then_loses_its_connection(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(server, "WATCH_INTERVAL", 0.1)
    connection = connect()
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.05):
            try:
                connection.sendall(b"X")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert is_closed(connection)
    finally:
        ended.set()
        dripping.join()


def test_an_answer_may_take_longer_than_a_client(local_aws: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "WATCH_INTERVAL"):
        monkeypatch.setattr(server, name, 0.2)
    answer = local_aws.gateway.status

    def slowly() -> dict[str, Any]:
        threading.Event().wait(1.0)
        return dict(answer())

    monkeypatch.setattr(local_aws.gateway, "status", slowly)
    connection = connect()
    connection.sendall(STATUS)
    assert status_line(connection) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", "414 Request-URI Too Long"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "431 Line too long"),
        (b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaaaaa\r\n" * 99 * 40 + b"\r\n", "431"),
        (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "413 Request Entity Too Large"),
        (b"PUT / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "413 Request Entity Too Large"),
        (
            b"PUT / HTTP/1.1\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n",
            "413 Request Entity Too Large",
        ),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "501 Not Implemented"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "400 Bad Request"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n", "400 Bad Request"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "400 Bad Request"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "413 Request Entity Too Large"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(connect: Any, head: bytes, status: str) -> None:
    connection = connect()
    connection.sendall(head)
    assert f" {status}" in status_line(connection)
    assert is_closed(connection)


def test_a_body_in_chunks_is_read_whole(local_aws: Any, connect: Any) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    body = Random(0).randbytes(300_000)
    url = local_aws.client("s3").generate_presigned_url("put_object", Params={"Bucket": "photos", "Key": "a"})
    path = url.partition(str(local_aws.settings.port))[2]
    chunks = b"".join(
        b"%x;name=value\r\n%b\r\n" % (len(chunk), chunk)
        for chunk in (body[start : start + 70_001] for start in range(0, len(body), 70_001))
    )
    head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{local_aws.settings.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = connect()
    connection.sendall(head.encode() + chunks + b"0\r\nX-Trailer: a\r\n\r\n" + STATUS)
    answers = connection.makefile("rb")
    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    assert local_aws.client("s3").get_object(Bucket="photos", Key="a")["Body"].read() == body
    # and the next request on the connection begins where the body ended
    while answers.readline() != b"HTTP/1.1 200 OK\r\n":
        pass
    headers = dict(line.decode().strip().split(": ") for line in iter(answers.readline, b"\r\n"))
    assert json.loads(answers.read(int(headers["Content-Length"])))["region"] == "us-east-1"


def test_clients_that_go_in_the_middle_leave_nothing_behind(local_aws: Any, connect: Any) -> None:
    before = handlers()
    for _ in range(20):
        connection = connect()
        connection.sendall(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        connection.close()
        connection = connect()
        connection.sendall(STATUS * 5)
        connection.close()
    local_aws.eventually(lambda: handlers() <= before)
