"""The server as a process of its own, over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

READY = re.compile(r"Serving .* on http://127\.0\.0\.1:(\d+)")
MAX_BODY_BYTES = 50_000


def green_jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (60, 50), (10, 200, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


class Server:
    """A server process that has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""
        assert process.stderr is not None
        for line in process.stderr:
            self.log += line
            if ready := READY.search(line):
                self.port = int(ready[1])
                return
        raise AssertionError(f"the server ended with {process.wait()}:\n{self.log}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def request(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, **options)
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body else {}
        finally:
            connection.close()

    def end(self) -> int:
        """Waits until the process has ended and returns its exit code."""
        _, rest = self.process.communicate(timeout=60)
        self.log += rest
        return self.process.returncode


Start = Callable[..., Server]


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def start_server(
        *arguments: str, command: tuple[str, ...] = (sys.executable, "-m", "whippet_serving"), **environment: str
    ) -> Server:
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "WHIPPET_MODEL": str(tiny_model), "SAGEMAKER_BIND_TO_PORT": "0", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return Server(process)

    yield start_server
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def read_response(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a server that is expected not to start."""
    return subprocess.run(
        [sys.executable, "-m", "whippet_serving", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wait_until_refused(server: Server) -> None:
    while True:
        try:
            server.connect().close()
        except OSError:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_serves_a_packed_archive(start: Start, tiny_model: Path, pack: Callable[[Path], Path], engine: str) -> None:
    server = start("--model", str(pack(tiny_model)), "--port", "0", "--engine", engine)

    status, body = server.request(
        "POST", "/invocations?top_k=1", body=green_jpeg(), headers={"content-type": "image/jpeg"}
    )

    assert server.request("GET", "/ping") == (200, {})
    assert status == 200
    assert [prediction["label"] for prediction in body["predictions"]] == ["green"]
    assert f"with {engine} on" in server.log


def test_listens_on_sagemakers_port(start: Start) -> None:
    port = free_port()

    assert start(SAGEMAKER_BIND_TO_PORT=str(port)).port == port


def test_starts_as_sagemaker_starts_a_container(start: Start, tmp_path: Path) -> None:
    """The Dockerfile links the entry point as `serve` and names the model in the environment."""
    serve = tmp_path / "serve"
    serve.symlink_to(Path(sys.executable).with_name("whippet-serving"))

    assert start(command=(str(serve),)).request("GET", "/ping") == (200, {})


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_answers_the_request_in_flight_before_it_ends(start: Start, signal_: signal.Signals) -> None:
    server = start()
    photo = green_jpeg()
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n"
    with server.connect() as in_flight, server.connect() as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" in idle.recv(1000)
        # the server asks for the body, so the request is in flight
        in_flight.sendall(f"{head}expect: 100-continue\r\n\r\n".encode())
        assert in_flight.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"

        server.process.send_signal(signal_)
        wait_until_refused(server)
        assert idle.recv(1000) == b""
        in_flight.sendall(photo)
        status, body = read_response(in_flight)

    assert status == 200
    assert body["predictions"][0]["label"] == "green"
    assert server.end() == 0
    assert "Traceback" not in server.log


def test_says_that_the_port_is_in_use(tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = run("--model", str(tiny_model), "--port", str(port))

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"whippet-serving: port {port} on 127.0.0.1 is in use: stop what listens there, or choose another with --port"
    ]


def test_says_in_one_line_why_a_model_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"damaged")

    for path in (tmp_path / "model.tar.gz", tmp_path / "missing.tar.gz", tmp_path):
        ended = run("--model", str(path), "--port", "0")
        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert ended.stderr.startswith("whippet-serving: ")


class TestHostileClients:
    @pytest.fixture
    def server(self, start: Start) -> Server:
        return start("--max-body-bytes", str(MAX_BODY_BYTES))

    @pytest.mark.parametrize("size", ["content-length: 50001", "transfer-encoding: chunked"])
    def test_refuses_a_large_body_before_it_has_arrived(self, server: Server, size: str) -> None:
        with server.connect() as connection:
            head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n{size}\r\n\r\n"
            connection.sendall(head.encode())
            if "chunked" in size:
                connection.sendall(b"%x\r\n" % (10 * MAX_BODY_BYTES) + bytes(MAX_BODY_BYTES + 1))
            status, problem = read_response(connection)

        assert (status, problem["status"]) == (413, 413)

    @pytest.mark.parametrize(
        "request_",
        [
            b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"POST /invocations HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"POST /invocations HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"POST /invocations HTTP/1.1\r\ncontent-length: 2\r\n\r\nmore than two bytes",
            b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"CONNECT x:80 HTTP/1.1\r\n\r\n",
            b"GET /ping HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            b"POST /invocations?top_k=%ff HTTP/1.1\r\ncontent-type: \xff\xfe\r\ncontent-length: 1\r\n\r\na",
        ],
    )
    def test_never_answers_malformed_http_with_a_5xx(self, server: Server, request_: bytes) -> None:
        with server.connect() as connection:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(10_000), b""))

        assert not re.search(rb"HTTP/1\.1 5\d\d", answer)
        assert server.request("GET", "/ping") == (200, {})
        server.process.terminate()
        assert server.end() == 0
        assert "Traceback" not in server.log

    def test_outlives_a_caller_that_hangs_up_in_its_request(self, server: Server) -> None:
        with server.connect() as connection:
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: 1000\r\n\r\nhalf"
            )

        assert server.request("GET", "/ping") == (200, {})
        server.process.terminate()
        assert server.end() == 0
        assert "Traceback" not in server.log
