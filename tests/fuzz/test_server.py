"""Hostile pictures and requests, thousands of them, against one server as it runs: none may bring it to harm."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from support.hostile import POST, bombs, edited, smuggled, sound_pictures, strange_pictures, strange_requests
from support.serving import Server, green_jpeg
from whippet_serving import decoder

MEMORY_BYTES = 350 * 2**20
PICTURES, REQUESTS = 4000, 1000
UNHURRIED = settings(
    deadline=None,
    derandomize=True,  # CI tries the same ones each time; drop this line to look for more
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Caller:
    """Sends pictures over one kept connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, picture: bytes) -> int:
        """Asks about a picture, checks the form of the answer, and returns its status."""
        self.connection.request("POST", "/invocations", body=picture, headers={"content-type": "image/jpeg"})
        response = self.connection.getresponse()
        document = json.loads(response.read())
        if response.status == 200:
            assert len(document["predictions"]) == 3
        else:
            assert document["status"] == response.status
            assert response.headers["content-type"] == "application/problem+json"
        return response.status


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "whippet_serving", "--port", "0"],
        env={**os.environ, "WHIPPET_MODEL": str(tiny_model)},
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    yield server
    process.terminate()
    assert server.end() == 0
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def caller(server: Server) -> Caller:
    return Caller(server.port)


@pytest.fixture(autouse=True)
def server_is_well(server: Server) -> Iterator[None]:
    """After each test the server answers, has ended no decoder, and has taken no more memory than it may."""
    decoders = server.decoders()
    yield
    headers = {"content-type": "image/jpeg"}
    assert server.request("POST", "/invocations", body=green_jpeg(), headers=headers)[0] == 200
    assert server.request("GET", "/ping")[0] == 200
    assert server.decoders() == decoders
    assert peak_bytes(server.process.pid) <= MEMORY_BYTES
    assert all(peak_bytes(one.pid) <= decoder.MEMORY_BYTES for one in decoders)


def peak_bytes(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


@pytest.mark.parametrize("picture", [pytest.param(content, id=name) for name, content in bombs()])
def test_refuses_bombs(server: Server, caller: Caller, picture: bytes) -> None:
    before = [peak_bytes(one.pid) for one in server.decoders()]

    status = caller.ask(picture)

    assert status in (200, 422)  # pixels beside a bomb that nobody looks at may be answered
    after = [peak_bytes(one.pid) for one in server.decoders()]
    assert sum(after) - sum(before) < 100 * 2**20


def test_answers_every_strange_picture_or_says_what_is_wrong_with_it(caller: Caller) -> None:
    answers = {name: caller.ask(picture) for name, picture in strange_pictures()}

    assert set(answers.values()) == {200, 400, 415, 422}
    assert {name for name, status in answers.items() if status not in (200, 400, 415, 422)} == set()


@settings(UNHURRIED, max_examples=PICTURES)
@given(picture=edited(sound_pictures()))
def test_answers_every_edited_picture_or_says_what_is_wrong_with_it(caller: Caller, picture: bytes) -> None:
    assert caller.ask(picture) in (200, 400, 415, 422)


def exchange(port: int, request: bytes, patience: float) -> list[int]:
    """Sends bytes, hangs up when nothing has come for some seconds, and returns the statuses of the answers."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(patience)
            while received := connection.recv(65_536):
                answer += received
        except (TimeoutError, ConnectionError):  # it waits for more, or has heard enough
            pass
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", answer, re.MULTILINE)]


@pytest.mark.parametrize("request_", [pytest.param(content, id=name) for name, content in smuggled()])
def test_reads_no_request_as_two(server: Server, request_: bytes) -> None:
    assert exchange(server.port, request_, 0.2) in ([], [400])


@pytest.mark.parametrize("request_", [pytest.param(content, id=name) for name, content in strange_requests()])
def test_never_answers_a_strange_request_with_a_5xx(server: Server, request_: bytes) -> None:
    assert all(status < 500 for status in exchange(server.port, request_, 0.1))


def post(content_type: bytes, body: bytes) -> bytes:
    return POST.replace(b"image/jpeg", content_type) + b"content-length: %d\r\n\r\n" % len(body) + body


PHOTO = green_jpeg()
SOUND_REQUESTS = {
    post(b"image/jpeg", PHOTO): [200],
    POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(PHOTO) + PHOTO + b"\r\n0\r\n\r\n": [200],
    post(b"application/json", b'{"image": "aaaa"}'): [415],
    post(b"application/jsonlines", b'{"image": "aaaa"}\n{"image": "aaaa"}\n'): [200],
    post(
        b"multipart/form-data; boundary=b",
        b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n' + PHOTO + b"\r\n--b--\r\n",
    ): [200],
    b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n": [200, 200],
}


def test_the_requests_that_edits_begin_with_are_sound(server: Server) -> None:
    answers = [exchange(server.port, request, 0.5) for request in SOUND_REQUESTS]

    assert answers == list(SOUND_REQUESTS.values())


@settings(UNHURRIED, max_examples=REQUESTS)
@given(request=edited(list(SOUND_REQUESTS)))
def test_never_answers_an_edited_request_with_a_5xx(server: Server, request: bytes) -> None:
    assert all(status < 500 for status in exchange(server.port, request, 0.02))
