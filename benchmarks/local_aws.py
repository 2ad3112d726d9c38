"""Measures local AWS: how long it takes to start, what it takes at rest, what it adds to a call, and what it leaks.

Start: `whippet local up` as users run it, from the command to its end: with nothing on disk, and after `kill -9` with
what it held.

Overhead: the same bytes go to an endpoint's instance directly and through InvokeEndpoint, in turns, over connections
that are kept, signed beforehand: by the administrator, and by a session of a role that may do this and nothing else.
A round's overhead is the median of its calls through local AWS less the median of its direct ones.

Leaks: an endpoint and a function are created, invoked and deleted, many times over. Processes, listening ports, open
files, threads and files on disk must be as many afterwards as before, and memory may have grown by the bound at most.

Example: python benchmarks/local_aws.py --rounds 1000
"""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import boto3
import psutil
import typer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import _bench
from whippet.local import control
from whippet.local.settings import ACCOUNT, DEFAULT_REGION

WHIPPET = Path(sys.executable).parent / "whippet"
CONTAINER = (sys.executable, "-S", str(Path(__file__).parent / "echo" / "container.py"))
FUNCTION = "def handler(event, context): return event"
NAME = "benchmark"
ADMINISTRATOR = Credentials("test", "test")
#: Bytes of an invocation: a small photo, one out of a camera, and nearly as many as InvokeEndpoint takes.
BODY_SIZES = {"50 kB": 50_000, "1 MB": 1_000_000, "6 MB": 6_000_000}
#: Calls and rounds that come first and are not measured.
WARM_UP_CALLS, WARM_UP_ROUNDS = 50, 20
#: Seconds for local AWS to come to rest, and for what ends a little after it was deleted.
REST_S, SETTLE_S = 5.0, 30.0

START, RESTART = "whippet local up, s", "whippet local up after kill -9, s"
MEMORY = "memory at rest, MB"
#: What figures are held against (issue "Local AWS that behaves like AWS").
BOUNDS = {
    START: 5.0,
    RESTART: 5.0,
    MEMORY: 400.0,
    "InvokeEndpoint adds, ms: administrator, 50 kB": 3.0,
    "InvokeEndpoint adds, ms: role, 50 kB": 3.0,
}
#: Megabytes that memory may grow by while resources come and go.
MEMORY_BOUND = 32.0

console = Console(width=None if sys.stdout.isatty() else 120)  # a file or a log has no width of its own


class BenchmarkError(Exception):
    """What is wrong, in one line."""


@dataclass(frozen=True)
class Holdings:
    """What local AWS has of the machine.

    Attributes:
        processes: it and all that it has started.
        ports: on which any of them listens.
        descriptors: that it has open itself.
        threads: of its own.
        files: on disk: its state, and temporary ones.
    """

    processes: int
    ports: int
    descriptors: int
    threads: int
    files: int


class LocalAws:
    """A local AWS of its own.

    Args:
        folder: empty; gets all that it and its processes write.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._folder = folder
        self._clients: dict[str, Any] = {}
        (folder / "tmp").mkdir()
        os.environ.update(WHIPPET_HOME=str(folder), TMPDIR=str(folder / "tmp"))

    def start(self) -> float:
        """Starts it as users do; seconds that the command took."""
        began_at = time.perf_counter()
        subprocess.run([WHIPPET, "local", "up", "--port", str(self.port)], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began_at

    def stop(self) -> None:
        """Stops it, and forgets what it held."""
        control.down(self.port)
        control.reset(self.port)

    def status(self) -> control.Status:
        """What runs.

        Raises:
            BenchmarkError: it has ended by itself.
        """
        status = control.status(self.port)
        if status is None:
            raise BenchmarkError("Local AWS has ended by itself.")
        return status

    def client(self, service: str) -> Any:
        """The administrator's client of a service."""
        if service not in self._clients:
            self._clients[service] = boto3.client(  # type: ignore[call-overload]
                service,
                region_name=DEFAULT_REGION,
                endpoint_url=control.url(self.port),
                aws_access_key_id=ADMINISTRATOR.access_key,
                aws_secret_access_key=ADMINISTRATOR.secret_key,
            )
        return self._clients[service]

    def session(self) -> list[psutil.Process]:
        """It and every process that it has started, orphans included."""
        own, members = self.status().pid, []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == own and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return members

    def memory(self) -> float:
        """Megabytes that it has resident, all of its processes together."""
        return float(sum(process.memory_info().rss for process in self.session())) / 1e6

    def holdings(self) -> Holdings:
        """What it has of the machine now."""
        own, session, ports = psutil.Process(self.status().pid), self.session(), 0
        for process in session:
            try:
                ports += sum(one.status == psutil.CONN_LISTEN for one in process.net_connections("inet"))
            except psutil.NoSuchProcess:
                continue
        files = sum(path.is_file() for path in self._folder.rglob("*"))
        return Holdings(len(session), ports, own.num_fds(), own.num_threads(), files)


def measure_start(local_aws: LocalAws, starts: int) -> dict[str, list[float]]:
    """Seconds of `whippet local up`, and megabytes at rest without endpoints."""
    figures: dict[str, list[float]] = {name: [] for name in (START, RESTART, MEMORY)}
    for _ in range(starts):
        figures[START].append(local_aws.start())
        time.sleep(REST_S)
        figures[MEMORY].append(local_aws.memory())
        create_roles(local_aws)
        create_model(local_aws)
        process = psutil.Process(local_aws.status().pid)
        process.kill()
        process.wait(SETTLE_S)
        figures[RESTART].append(local_aws.start())
        local_aws.stop()
    return figures


def create_roles(local_aws: LocalAws) -> Credentials:
    """Makes the role that models and functions have.

    Returns:
        A session of another role, which may invoke the benchmark's endpoint.
    """
    iam = local_aws.client("iam")
    trusted = {
        "Service": ["lambda.amazonaws.com", "sagemaker.amazonaws.com"],
        "AWS": f"arn:aws:iam::{ACCOUNT}:root",
    }
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": trusted}
    endpoint = f"arn:aws:sagemaker:{DEFAULT_REGION}:{ACCOUNT}:endpoint/{NAME}"
    allowed = {
        "executor": {"Effect": "Allow", "Action": ["logs:*", "s3:GetObject"], "Resource": "*"},
        "caller": {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": endpoint},
    }
    for name, statement in allowed.items():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(trust))
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=_document(statement))
    session = local_aws.client("sts").assume_role(RoleArn=_role("caller"), RoleSessionName=NAME)["Credentials"]
    return Credentials(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])


def _role(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def create_model(local_aws: LocalAws) -> None:
    """The model of all endpoints; its container reads no archive."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=NAME)
    s3.put_object(Bucket=NAME, Key="model.tar.gz", Body=b"")
    container = {"Image": "image", "ModelDataUrl": f"s3://{NAME}/model.tar.gz"}
    local_aws.client("sagemaker").create_model(
        ModelName=NAME, ExecutionRoleArn=_role("executor"), PrimaryContainer=container
    )


def create_endpoint(local_aws: LocalAws) -> None:
    """An endpoint of one instance, waited for.

    Raises:
        BenchmarkError: it fails.
    """
    sagemaker = local_aws.client("sagemaker")
    variant = {
        "VariantName": "main",
        "ModelName": NAME,
        "InstanceType": "ml.c6i.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    while (endpoint := sagemaker.describe_endpoint(EndpointName=NAME))["EndpointStatus"] == "Creating":
        time.sleep(0.02)
    if endpoint["EndpointStatus"] != "InService":
        raise BenchmarkError(f"The endpoint is {endpoint['EndpointStatus']}: {endpoint.get('FailureReason')}")


def delete_endpoint(local_aws: LocalAws) -> None:
    """Deletes the endpoint with all that came with it, and waits for its end."""
    sagemaker = local_aws.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=NAME)
    while sagemaker.list_endpoints()["Endpoints"]:
        time.sleep(0.02)
    sagemaker.delete_endpoint_config(EndpointConfigName=NAME)
    _delete_log_group(local_aws, f"/aws/sagemaker/Endpoints/{NAME}")


def _delete_log_group(local_aws: LocalAws, name: str) -> None:
    try:
        local_aws.client("logs").delete_log_group(logGroupName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise


class Caller:
    """Posts a body over one connection.

    Args:
        port: on this machine.
        path: what is asked.
        body: what is sent.
        credentials: sign it; None where nobody asks for that.
    """

    def __init__(self, port: int, path: str, body: bytes, credentials: Credentials | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._path, self._body, self._credentials = path, body, credentials
        self._url = f"http://127.0.0.1:{port}{path}"

    def call(self) -> float:
        """Seconds from the first byte of a request to the last one of its answer.

        Raises:
            BenchmarkError: it is not answered well.
        """
        request = AWSRequest("POST", self._url, data=self._body, headers={"Content-Type": "image/jpeg"})
        if self._credentials is not None:
            SigV4Auth(self._credentials, "sagemaker", DEFAULT_REGION).add_auth(request)
        headers = dict(request.headers)
        began_at = time.perf_counter()
        self._connection.request("POST", self._path, self._body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - began_at
        if (response.status, answer) != (200, b"%d" % len(self._body)):
            raise BenchmarkError(f"{self._path} answers {response.status}: {answer[:200].decode(errors='replace')}")
        return seconds

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def measure_overhead(local_aws: LocalAws, session: Credentials, calls: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds that a direct call takes and that InvokeEndpoint adds to it, in each round."""
    create_endpoint(local_aws)
    [instance] = local_aws.status().endpoints[0].instances
    figures: dict[str, list[float]] = {}
    for size_name, size in BODY_SIZES.items():
        body = os.urandom(size)
        sides = {
            "direct": Caller(instance.port, "/invocations", body),
            "administrator": Caller(local_aws.port, f"/endpoints/{NAME}/invocations", body, ADMINISTRATOR),
            "role": Caller(local_aws.port, f"/endpoints/{NAME}/invocations", body, session),
        }
        for caller in sides.values():
            for _ in range(WARM_UP_CALLS):
                caller.call()
        for _ in track(range(rounds), f"Calling with {size_name}", console=console, transient=True):
            seconds: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(calls):
                for side, caller in sides.items():
                    seconds[side].append(caller.call())
            medians = {side: 1000 * statistics.median(values) for side, values in seconds.items()}
            figures.setdefault(f"direct call, ms: {size_name}", []).append(medians["direct"])
            for side in ("administrator", "role"):
                name = f"InvokeEndpoint adds, ms: {side}, {size_name}"
                figures.setdefault(name, []).append(medians[side] - medians["direct"])
        for caller in sides.values():
            caller.close()
    delete_endpoint(local_aws)
    return figures


def endpoint_comes_and_goes(local_aws: LocalAws) -> None:
    """Creates, invokes and deletes an endpoint."""
    create_endpoint(local_aws)
    local_aws.client("sagemaker-runtime").invoke_endpoint(EndpointName=NAME, Body=b"photo")["Body"].read()
    delete_endpoint(local_aws)


def function_comes_and_goes(local_aws: LocalAws) -> None:
    """Creates, invokes and deletes a function.

    Raises:
        BenchmarkError: it fails.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("module.py", FUNCTION)
    client = local_aws.client("lambda")
    client.create_function(
        FunctionName=NAME,
        Runtime="python3.12",
        Handler="module.handler",
        Role=_role("executor"),
        Code={"ZipFile": packed.getvalue()},
    )
    answer = client.invoke(FunctionName=NAME, Payload=b"1")["Payload"].read()
    if answer != b"1":
        raise BenchmarkError(f"The function answers {answer.decode(errors='replace')}")
    client.delete_function(FunctionName=NAME)
    _delete_log_group(local_aws, f"/aws/lambda/{NAME}")


def settled(local_aws: LocalAws, wanted: Holdings | None = None) -> Holdings:
    """What local AWS has once that is what is wanted, or no longer changes, or time is over."""
    deadline, now = time.monotonic() + SETTLE_S, local_aws.holdings()
    while time.monotonic() < deadline:
        before, now = now, local_aws.holdings()
        if now == (wanted or before):
            break
        time.sleep(1)
    return now


def measure_leaks(local_aws: LocalAws, rounds: int) -> dict[str, Any]:
    """Lets endpoints and functions come and go.

    Returns:
        What local AWS had before and afterwards, and the megabytes that it had after each tenth of the rounds.

    Raises:
        BenchmarkError: something has stayed.
    """

    def run(number: int) -> None:
        for _ in range(number):
            endpoint_comes_and_goes(local_aws)
            function_comes_and_goes(local_aws)

    run(WARM_UP_ROUNDS)
    before, memory = settled(local_aws), [local_aws.memory()]
    began_at = time.perf_counter()
    for tenth in track(range(10), "Creating, invoking, deleting", console=console, transient=True):
        run(rounds * (tenth + 1) // 10 - rounds * tenth // 10)
        memory.append(local_aws.memory())
    seconds = time.perf_counter() - began_at
    after = settled(local_aws, before)
    return {
        "rounds": rounds,
        "seconds": round(seconds, 1),
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(after),
        "memory_mb": [round(megabytes, 1) for megabytes in memory],
    }


def leaked(leaks: dict[str, Any]) -> list[str]:
    """What is there afterwards that was not there before, a line each."""
    before, after, memory = leaks["before"], leaks["after"], leaks["memory_mb"]
    lines = [
        f"{name}: {before[name]} before, {after[name]} afterwards" for name in before if after[name] > before[name]
    ]
    if (grown := max(memory[1:]) - memory[0]) > MEMORY_BOUND:
        lines.append(f"memory: {grown:.1f} MB more than before")
    return lines


def missed(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The bounds that medians are above, a line each."""
    return [
        f"{name}: {figures[name]['median']:g} instead of {bound:g}"
        for name, bound in BOUNDS.items()
        if figures[name]["median"] > bound
    ]


def print_tables(figures: dict[str, dict[str, Any]], leaks: dict[str, Any]) -> None:
    """Prints medians with their spread, and what was there before and after the rounds."""
    table = Table(Column("figure", no_wrap=True), box=box.SIMPLE, pad_edge=False)
    for heading in ("bound", "median", "min", "max"):
        table.add_column(heading, justify="right")
    for name, spread in figures.items():
        bound = f"<= {BOUNDS[name]:g}" if name in BOUNDS else ""
        table.add_row(name, bound, *(f"{spread[key]:.2f}" for key in ("median", "min", "max")))
    console.print(table)
    memory = leaks["memory_mb"]
    console.print(f"{leaks['rounds']} rounds of create, invoke, delete in {leaks['seconds']} s:")
    for name, number in leaks["before"].items():
        console.print(f"  {name}: {number} before, {leaks['after'][name]} afterwards")
    console.print(f"  memory: {memory[0]} MB before, {memory[-1]} afterwards, {max(memory)} at most")


def run(starts: int, calls: int, call_rounds: int, rounds: int) -> tuple[Path, list[str]]:
    """Measures everything.

    Returns:
        The report, and what is not as it should be, a line each.

    Raises:
        BenchmarkError: something cannot be measured.
    """
    load_before = _bench.load_average()
    with tempfile.TemporaryDirectory(prefix="whippet-bench-") as folder:
        local_aws = LocalAws(Path(folder))
        try:
            started = measure_start(local_aws, starts)
            control.up(local_aws.port, container_command=CONTAINER)
            session = create_roles(local_aws)
            create_model(local_aws)
            asked = measure_overhead(local_aws, session, calls, call_rounds)
            leaks = measure_leaks(local_aws, rounds)
        finally:
            local_aws.stop()
    figures = {name: _bench.spread(values) for name, values in {**started, **asked}.items()}
    print_tables(figures, leaks)
    report = {
        "figures": figures,
        "bounds": BOUNDS,
        "calls": {"per_round": calls, "rounds": call_rounds, "body_bytes": BODY_SIZES},
        "leaks": {**leaks, "memory_bound_mb": MEMORY_BOUND},
        "load_average_before": load_before,
        "machine": _bench.machine(),
        "versions": _bench.versions("whippet", "moto", "werkzeug", "botocore", "awslambdaric"),
    }
    return _bench.write_report("local_aws", report), [*missed(figures), *leaked(leaks)]


def main(
    starts: Annotated[int, typer.Option(min=1, help="How often to start it.")] = 5,
    calls: Annotated[int, typer.Option(min=10, help="Calls of each kind in a round.")] = 100,
    call_rounds: Annotated[int, typer.Option(min=1, help="Rounds of calls.")] = 7,
    rounds: Annotated[int, typer.Option(min=10, help="Rounds of create, invoke, delete.")] = 1000,
) -> None:
    """Measures local AWS, and writes build/bench/local_aws.json; the exit code is 1 where a bound is missed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through what stops local AWS
    try:
        report, faults = run(starts, calls, call_rounds, rounds)
    except BenchmarkError as error:
        sys.exit(f"benchmarks/local_aws.py: {error}")
    console.print(f"Wrote {report.relative_to(_bench.BENCH_DIR.parent.parent)}")
    if faults:
        sys.exit("benchmarks/local_aws.py: not as it should be:\n  " + "\n  ".join(faults))


if __name__ == "__main__":
    typer.run(main)
