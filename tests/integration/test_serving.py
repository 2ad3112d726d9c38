"""The server as a process of its own, over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.ports import free_port
from support.serving import Server, green_jpeg

MAX_BODY_BYTES = 50_000


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


@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
def test_serves_a_packed_archive(
    start: Start, tiny_model_with_onnx: Path, pack: Callable[[Path], Path], engine: str
) -> None:
    server = start("--model", str(pack(tiny_model_with_onnx)), "--port", "0", "--engine", engine)

    status, body = server.request(
        "POST", "/invocations?top_k=1", body=green_jpeg(), headers={"content-type": "image/jpeg"}
    )

    assert server.request("GET", "/ping") == (200, {})
    assert status == 200
    assert [prediction["label"] for prediction in body["predictions"]] == ["green"]
    assert f"with {engine} on" in server.log


def test_takes_the_engines_settings_from_the_environment(start: Start) -> None:
    server = start(
        WHIPPET_ENGINE="openvino", WHIPPET_THREADS="2", WHIPPET_BATCH="4", WHIPPET_BATCH_WINDOW_MS="1",
        WHIPPET_WARM_UP_MS="0", WHIPPET_PRECISION="float32",
    )  # fmt: skip

    assert "Engine: openvino in float32, 2 threads, 1 at once in batches of 4, " in server.log
    answered = server.request("POST", "/invocations", body=green_jpeg(), headers={"content-type": "image/jpeg"})
    assert answered[1]["predictions"][0]["label"] == "green"


def test_listens_on_sagemakers_port(start: Start) -> None:
    port = free_port()

    assert start(SAGEMAKER_BIND_TO_PORT=str(port)).port == port


def test_starts_as_sagemaker_starts_a_container(start: Start, tmp_path: Path) -> None:
    """The Dockerfile links the entry point as `serve` and names the model in the environment."""
    serve = tmp_path / "serve"
    serve.symlink_to(Path(sys.executable).with_name("whippet-serving"))

    assert start(command=(str(serve),)).request("GET", "/ping") == (200, {})


def test_sends_an_answer_in_one_packet(start: Start) -> None:
    photo = green_jpeg()
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", start().port), timeout=60) as connection:
        for _ in range(20):
            connection.sendall(head.encode() + photo)
            answer = connection.recv(65536)

            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert answer.endswith(b"}")


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


class Caller(threading.Thread):
    """Asks over one kept connection until nobody listens any more, and notes what it got."""

    def __init__(self, port: int, ended: threading.Event) -> None:
        super().__init__()
        self.port = port
        self.ended = ended
        self.statuses: list[int] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.ended.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError:  # the server is gone, which no request was lost to
                    return
            try:
                connection.request("POST", "/invocations", body=green_jpeg(), headers={"content-type": "image/jpeg"})
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
            except Exception as error:
                self.errors.append(error)
                break
        connection.close()


def call(server: Server, callers: int, meanwhile: Callable[[list[Caller]], None]) -> list[Caller]:
    """Lets callers ask while something happens."""
    ended = threading.Event()
    threads = [Caller(server.port, ended) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        meanwhile(threads)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return threads


def wait_for_answers(threads: list[Caller], number: int) -> None:
    wanted = [len(thread.statuses) + number for thread in threads]
    while any(len(thread.statuses) < count for thread, count in zip(threads, wanted, strict=True)):
        assert not any(thread.errors for thread in threads)
        time.sleep(0.01)


def test_loses_no_request_of_kept_connections_when_it_ends(start: Start) -> None:
    server = start()

    def end(threads: list[Caller]) -> None:
        wait_for_answers(threads, 10)
        server.process.terminate()
        assert server.end() == 0

    threads = call(server, 8, end)

    assert [error for thread in threads for error in thread.errors] == []
    assert {status for thread in threads for status in thread.statuses} == {200}


def test_loses_no_answer_when_its_decoders_die(start: Start) -> None:
    server = start()

    def kill(threads: list[Caller]) -> None:
        wait_for_answers(threads, 10)
        for decoder in server.decoders():
            decoder.kill()
        wait_for_answers(threads, 10)

    threads = call(server, 4, kill)

    assert {status for thread in threads for status in thread.statuses} == {200}
    assert all(decoder.is_running() for decoder in server.decoders())
    server.process.terminate()
    server.end()
    assert "A decoder ended" in server.log


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL])
def test_leaves_no_decoder(start: Start, signal_: signal.Signals) -> None:
    server = start()
    processes = server.decoders()
    assert processes

    server.process.send_signal(signal_)
    server.end()

    assert psutil.wait_procs(processes, timeout=60)[1] == []


def test_answers_while_slow_senders_hold_connections(start: Start) -> None:
    server = start("--max-in-flight", "4")
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: 1000\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(server.connect()).sendall(head + b"slow")

        status, _ = server.request("POST", "/invocations", body=green_jpeg(), headers={"content-type": "image/jpeg"})

    assert status == 200


def test_logs_a_line_of_json_for_each_event(start: Start) -> None:
    server = start("--access-log", "--log-format", "json")
    headers = {"content-type": "image/jpeg", "x-request-id": "mine"}
    server.request("POST", "/invocations", body=green_jpeg(), headers=headers)
    server.process.terminate()
    server.end()

    *_, ready, request = (json.loads(line) for line in server.log.splitlines())
    assert ready["message"].startswith("Serving")
    assert (request["level"], request["request_id"], request["status"]) == ("INFO", "mine", 200)


def test_sends_a_trace_of_each_request_as_a_part_of_its_callers(start: Start) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{collector.server_address[1]}"
        server = start("--traces", OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_EXPORTER_OTLP_COMPRESSION="none")
        server.request("GET", "/ping")
        headers = {"content-type": "image/jpeg", "traceparent": f"00-{trace_id}-{span_id}-01"}
        assert server.request("POST", "/invocations", body=green_jpeg(), headers=headers)[0] == 200
        server.process.terminate()
        assert server.end() == 0
        collector.shutdown()

    exported = ExportTraceServiceRequest.FromString(received.get(timeout=60))
    [spans] = exported.resource_spans
    [span] = spans.scope_spans[0].spans
    assert span.name == "POST /invocations"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id, span_id)
    assert "whippet-serving" in {attribute.value.string_value for attribute in spans.resource.attributes}
    assert received.empty()
