"""Measures the function under awslambdaric against the least function on plain boto3, and against the endpoint itself.

Each environment is a process that local AWS starts as it does for its functions: Python without site-packages, and the
packages of AWS's Python runtime. It is frozen between its calls. The endpoint is `whippet_serving`; a process before it
takes SageMaker's path of InvokeEndpoint to the server's own, for all sides alike.

init: from the start of the process to the moment when it asks for an event, with the endpoint's address as on AWS, so
that what TLS needs is part of it. first answer: init and the first call together. warm: calls in turns, each side first
as often, the direct ones over a kept connection, unsigned. A function that does nothing tells how much of a call and of
an init is the runtime's.

Example: python benchmarks/lambda_cold_start.py --model build/model.tar.gz
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import multiprocessing
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Column, Table

import _bench
from whippet.local import processes
from whippet.local.functions import runtime
from whippet.local.functions.runtime_api import Invocation
from whippet.local.functions.sandbox import Sandbox, SandboxError

ROOT = Path(__file__).resolve().parent.parent
NAME = "breeds"
PATH = f"/endpoints/{NAME}/invocations"
TIMEOUT_S = 30.0
WARM_UP_CALLS = 20
#: What figures are held against: init as a share of the peer's, milliseconds over a direct call, bytes.
BOUNDS = {"init_share": 0.5, "warm_p50_added_ms": 1.5, "zip_bytes": 1_000_000}

console = Console(width=None if sys.stdout.isatty() else 120)  # a file or a log has no width of its own


class BenchmarkError(Exception):
    """Why the benchmark cannot run, in one line."""


class Side(NamedTuple):
    """A function: its name in the table, what Lambda calls, and the folder of its code."""

    name: str
    handler: str
    code: Path


def route(port: int, ready: Connection) -> None:
    """Passes InvokeEndpoint's path on to the server's own, over one connection for each one that comes in."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            self.server_side = http.client.HTTPConnection("127.0.0.1", port)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server_side.request("POST", "/invocations", body, {"content-type": self.headers["content-type"]})
            with self.server_side.getresponse() as response:
                answer, status = response.read(), response.status
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ready.send(server.server_port)
    server.serve_forever()


@contextmanager
def endpoint(model: Path) -> Iterator[int]:
    """Runs the server, and the process that takes InvokeEndpoint's path to it.

    Yields:
        The port to ask.

    Raises:
        BenchmarkError: The server does not start.
    """
    command = [sys.executable, "-m", "whippet_serving", "--model", str(model), "--port", "0"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as server:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        router: Any = None
        try:
            address = None
            until = time.monotonic() + 60
            while address is None and server.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
                log.seek(0)
                address = re.search(r"on http://127\.0\.0\.1:(\d+)", said := log.read())
            if address is None:
                raise BenchmarkError(f"whippet_serving does not start: {(said.strip().splitlines() or ['?'])[-1]}")
            router = context.Process(target=route, args=(int(address[1]), theirs), daemon=True)
            router.start()
            if not ours.poll(30):
                raise BenchmarkError("The process before the server does not start.")
            yield ours.recv()
        finally:
            if router is not None:
                router.terminate()
                router.join()
            server.terminate()


def environment(work: Path, url: str | None) -> dict[str, str]:
    """What Lambda sets, and the address of the endpoint where it is not AWS's own."""
    variables = {
        **processes.minimal_environment(work),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_LAMBDA_FUNCTION_NAME": NAME,
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "PYTHONDONTWRITEBYTECODE": "1",  # the code folder is read-only on AWS
        "PYTHONPATH": str(work / "runtime"),
        "WHIPPET_ENDPOINT_NAME": NAME,
    }
    return variables if url is None else {**variables, "AWS_ENDPOINT_URL": url}


def call(sandbox: Sandbox, number: int, event: bytes) -> float:
    """Milliseconds that a call takes.

    Raises:
        BenchmarkError: It is not answered with a prediction.
    """
    request_id = f"00000000-0000-4000-8000-{number:012}"
    headers = {
        "Lambda-Runtime-Deadline-Ms": str(int((time.time() + TIMEOUT_S) * 1000)),
        "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:eu-central-1:000000000000:function:{NAME}",
    }
    began_at = time.perf_counter()
    result = sandbox.call(Invocation(request_id, event, headers), TIMEOUT_S)
    milliseconds = 1000 * (time.perf_counter() - began_at)
    if result.is_error or json.loads(result.body).get("statusCode") != 200:
        raise BenchmarkError(f"A function fails: {result.body[:300].decode(errors='replace')}")
    return milliseconds


def call_direct(connection: http.client.HTTPConnection, photo: bytes) -> float:
    """Milliseconds that the endpoint itself takes."""
    began_at = time.perf_counter()
    connection.request("POST", PATH, photo, {"content-type": "image/jpeg"})
    with connection.getresponse() as response:
        answer = response.read()
    milliseconds = 1000 * (time.perf_counter() - began_at)
    if response.status != 200:
        raise BenchmarkError(f"The endpoint answers {response.status}: {answer[:200].decode(errors='replace')}")
    return milliseconds


def draw_photo() -> bytes:
    """A picture of a usual size."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def measure_round(sides: list[Side], port: int, work: Path, calls: int) -> dict[str, dict[str, float]]:
    """One round: every side's init, first answer and warm calls."""
    photo = draw_photo()
    event = json.dumps({"image": base64.b64encode(photo).decode()}).encode()
    figures: dict[str, dict[str, float]] = {side.name: {} for side in sides} | {"direct": {}}
    for side in sides:
        sandbox = Sandbox(side.handler, environment(work, None), side.code, lambda lines: None)
        try:
            figures[side.name]["init_ms"] = sandbox.await_ready(TIMEOUT_S)
        finally:
            sandbox.kill()
    warm: dict[str, list[float]] = {name: [] for name in figures}
    with ExitStack() as stack:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        stack.callback(connection.close)
        sandboxes = {}
        for side in sides:
            url = f"http://127.0.0.1:{port}"
            sandbox = Sandbox(side.handler, environment(work, url), side.code, lambda lines: None)
            stack.callback(sandbox.kill)
            init = sandbox.await_ready(TIMEOUT_S)
            figures[side.name]["first_answer_ms"] = init + call(sandbox, 0, event)
            sandboxes[side.name] = sandbox
        for number in range(1, WARM_UP_CALLS + calls + 1):
            order = list(warm)
            latest = {}
            for name in order[number % len(order) :] + order[: number % len(order)]:
                sandbox = sandboxes.get(name)
                latest[name] = call(sandbox, number, event) if sandbox else call_direct(connection, photo)
            if number > WARM_UP_CALLS:
                for name, milliseconds in latest.items():
                    warm[name].append(milliseconds)
    for name, values in warm.items():
        figures[name].update({f"warm_p{q}_ms": _bench.percentile(values, q) for q in (50, 95, 99)})
        figures[name]["warm_p50_added_ms"] = statistics.median(values) - statistics.median(warm["direct"])
    return figures


def print_table(figures: dict[str, Any]) -> None:
    """Medians over the rounds, with extremes."""
    columns = ("init_ms", "first_answer_ms", "warm_p50_ms", "warm_p95_ms", "warm_p99_ms", "warm_p50_added_ms")
    table = Table(Column("side", no_wrap=True), box=box.SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column.removesuffix("_ms").replace("_", " ") + ", ms", justify="right")
    for name, row in figures.items():
        cells = [
            f"{row[key]['median']:.1f} ({row[key]['min']:.1f}-{row[key]['max']:.1f})" if key in row else ""
            for key in columns
        ]
        table.add_row(name, *cells)
    console.print(table)


def markdown(report: dict[str, Any]) -> str:
    """The table of docs/performance.md with what it was measured on."""
    columns = {
        "init_ms": "init ms",
        "first_answer_ms": "first answer ms",
        "warm_p50_ms": "warm p50 ms",
        "warm_p99_ms": "warm p99 ms",
        "warm_p50_added_ms": "above the endpoint ms",
    }

    def cell(row: dict[str, Any], key: str) -> str:
        return f"{row[key]['median']:.1f} ({row[key]['min']:.1f}-{row[key]['max']:.1f})" if key in row else ""

    rows = [(name, *(cell(row, key) for key in columns)) for name, row in report["figures"].items()]
    held, load = report["held_against"], report["load"]
    share, added, size = (held[key]["median"] for key in ("init_share", "warm_p50_added_ms", "zip_bytes"))
    return "\n".join(
        [
            _bench.markdown_table(("side", *columns.values()), rows),
            "",
            f"Its init takes {share:.2f} of that on plain boto3, a warm call {added:.2f} ms more than the endpoint's "
            f"own answer, and the zip {size / 1000:.0f} kB. {load['rounds']} rounds of {load['warm_calls']} warm calls "
            f"with a photo of {load['photo_bytes'] / 1000:.0f} kB. "
            + _bench.told(report["machine"], report["load_average_before"], report["versions"]),
        ]
    )


def run(model: Path, rounds: int, calls: int) -> dict[str, Any]:
    """Measures both functions and the endpoint.

    Raises:
        BenchmarkError: A side cannot be run.
    """
    load_before = _bench.load_average()
    if not model.exists():
        raise BenchmarkError(f"{model} does not exist: train a model first, or name one with --model.")
    measured = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whippet-bench-")))
        package = work / "lambda.zip"
        build = [sys.executable, ROOT / "scripts" / "build_lambda.py", "--out", package]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(work / "task")
        runtime.link_packages(work / "runtime")
        zip_bytes = package.stat().st_size
        sides = [
            Side("whippet_lambda", "whippet_lambda.handler.handler", work / "task"),
            Side("plain boto3", "plain.handler", Path(__file__).parent / "plain_boto3"),
            Side("no work", "nothing.handler", Path(__file__).parent / "no_work"),
        ]
        port = stack.enter_context(endpoint(model))
        for round_ in range(rounds + 1):
            figures = measure_round(sides if round_ % 2 else sides[::-1], port, work, calls if round_ else 1)
            if round_:  # the first one only fills the caches
                measured.append(figures)
                console.print(f"round {round_}: init {figures[sides[0].name]['init_ms']:.0f} ms")
    names = [*(side.name for side in sides), "direct"]
    summary = {
        name: {key: _bench.spread(figures[name][key] for figures in measured) for key in measured[0][name]}
        for name in names
    }
    shares = [figures[sides[0].name]["init_ms"] / figures[sides[1].name]["init_ms"] for figures in measured]
    held = {
        "init_share": _bench.spread(shares),
        "warm_p50_added_ms": summary[sides[0].name]["warm_p50_added_ms"],
        "zip_bytes": _bench.spread([zip_bytes]),
    }
    print_table(summary)
    for key, bound in BOUNDS.items():
        verdict = "holds" if held[key]["median"] <= bound else "misses"
        console.print(f"{key}: {held[key]['median']} ({held[key]['min']}-{held[key]['max']}) {verdict} {bound}")
    return {
        "figures": summary,
        "held_against": {key: {**held[key], "bound": bound} for key, bound in BOUNDS.items()},
        "load": {"rounds": rounds, "warm_calls": calls, "photo_bytes": len(draw_photo())},
        "load_average_before": load_before,
        "machine": _bench.machine(),
        "versions": _bench.versions("whippet-lambda", "whippet-serving", "awslambdaric", "boto3", "botocore"),
    }


def main(
    model: Annotated[Path, typer.Option(help="The model.tar.gz that the endpoint serves.")] = Path(
        "build/model.tar.gz"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="How often each side starts.")] = 7,
    calls: Annotated[int, typer.Option(min=1, help="Warm calls of each side in a round.")] = 100,
    docs: Annotated[bool, typer.Option(help="Write the table to docs/performance.md.")] = False,
) -> None:
    """Measure the function's start and calls, and write build/bench/lambda_cold_start.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the contexts that end the processes
    try:
        report = run(model, rounds, calls)
        path = _bench.write_report("lambda_cold_start", report)
        if docs:
            _bench.write_docs("lambda_cold_start", markdown(report))
    except (BenchmarkError, SandboxError) as error:
        sys.exit(f"benchmarks/lambda_cold_start.py: {error}")
    console.print(f"Wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    typer.run(main)
