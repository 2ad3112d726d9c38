"""Execution environments: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from whippet.local import processes
from whippet.local.clock import Clock
from whippet.local.functions.runtime_api import RuntimeApi

PID = "import os\ndef handler(event, context): return os.getpid()"
#: Waits for a file.
WAIT = """
import os, time
def handler(event, context):
    while not os.path.exists(event):
        time.sleep(0.01)
    return os.getpid()
"""
#: Has a thread that writes on and on, and tells where.
BUSY = """
import os, threading, time
path = os.path.join(os.environ["TMPDIR"], "ticks")
def tick():
    while True:
        with open(path, "ab") as file:
            file.write(b".")
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
def handler(event, context): return path
"""
#: Takes for ever to start, the first time in an environment.
SLOW_AT_FIRST = """
import os, pathlib, time
tried = pathlib.Path(os.environ["TMPDIR"], "tried")
if not tried.exists():
    tried.touch()
    time.sleep(600)
def handler(event, context): return "well"
"""


def test_an_environment_stays_warm_between_calls(local_aws: Any, function: Any) -> None:
    local_aws.create_function("calls = []\ndef handler(event, context):\n    calls.append(1)\n    return len(calls)")
    assert [function.invoke() for _ in range(3)] == [1, 2, 3]
    assert function.environments() == (1, 0)


def test_a_process_may_be_ready_before_its_start_has_returned(
    local_aws: Any, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, spawn, next_ = threading.Event(), processes.spawn, RuntimeApi.next

    def slow_spawn(*arguments: Any) -> Any:
        process = spawn(*arguments)
        assert asked.wait(60)
        time.sleep(0.2)
        return process

    def noted_next(api: RuntimeApi) -> Any:
        asked.set()
        return next_(api)

    monkeypatch.setattr(processes, "spawn", slow_spawn)
    monkeypatch.setattr(RuntimeApi, "next", noted_next)
    local_aws.create_function("def handler(event, context): return event")

    assert function.invoke("well") == "well"


def test_concurrent_calls_get_an_environment_each(local_aws: Any, function: Any, tmp_path: Path) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(function.invoke, str(gate)) for _ in range(3)]
        local_aws.eventually(lambda: function.environments() == (3, 3))
        gate.touch()
        assert len({call.result() for call in calls}) == 3
    assert function.environments() == (3, 0)
    assert function.invoke(str(gate)) in function.pids()
    assert function.environments() == (3, 0)


def test_nothing_in_an_environment_runs_between_calls(local_aws: Any, function: Any) -> None:
    local_aws.create_function(BUSY)
    ticks = Path(function.invoke())
    [pid] = function.pids()
    local_aws.eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    before = ticks.stat().st_size
    time.sleep(0.1)  # a hundred ticks, if it ran
    assert ticks.stat().st_size == before
    assert Path(function.invoke()) == ticks
    local_aws.eventually(lambda: ticks.stat().st_size > before)


def test_an_environment_without_work_is_ended_after_a_while(local_aws: Any, function: Any, fast_clock: Clock) -> None:
    local_aws.create_function(BUSY)
    ticks = Path(function.invoke())
    fast_clock.speed = local_aws.settings.environment_idle * 5
    local_aws.eventually(lambda: function.environments() == (0, 0))
    local_aws.eventually(lambda: not function.pids())
    local_aws.eventually(lambda: not ticks.parent.exists())
    assert function.invoke() != str(ticks)


def test_the_environment_is_lambdas_and_not_the_hosts(
    local_aws: Any, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MINE", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    source = "import os\ndef handler(event, context): return dict(os.environ)"
    local_aws.create_function(source, Environment={"Variables": {"COLOUR": "grey"}}, MemorySize=256)
    seen = function.invoke()
    assert seen.keys().isdisjoint({"AWS_MINE", "HTTPS_PROXY", "VIRTUAL_ENV", "USER"})
    assert seen["COLOUR"] == "grey"
    assert seen["AWS_ENDPOINT_URL"] == local_aws.settings.url
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert seen["AWS_REGION"] == "us-east-1"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")


def test_variables_that_lambda_sets_itself_are_refused(local_aws: Any, function: Any) -> None:
    error = function.refused(local_aws.create_function, PID, Environment={"Variables": {"AWS_REGION": "x", "A": "b"}})
    assert error["Error"]["Code"] == "InvalidParameterValueException"
    assert error["Error"]["Message"].endswith("Reserved keys used in this request: AWS_REGION")


def test_the_function_calls_aws_as_its_role(local_aws: Any, function: Any) -> None:
    source = """
import boto3, botocore
def handler(event, context):
    try:
        boto3.client("s3").list_buckets()
    except botocore.exceptions.ClientError as error:
        denied = error.response["Error"]["Code"]
    return {"caller": boto3.client("sts").get_caller_identity()["Arn"], "denied": denied}
"""
    local_aws.create_function(source, Timeout=30)
    assert function.invoke() == {
        "caller": "arn:aws:sts::123456789012:assumed-role/function-role/function",
        "denied": "AccessDenied",
    }


def test_a_function_sees_the_runtimes_packages_and_no_others(local_aws: Any, function: Any) -> None:
    source = """
import importlib.util
def handler(event, context): return {name: importlib.util.find_spec(name) is not None for name in event}
"""
    local_aws.create_function(source)
    wanted = ["boto3", "urllib3", "whippet_lambda", "moto", "numpy", "pip"]
    found = function.invoke(wanted)
    assert [name for name in wanted if found[name]] == ["boto3", "urllib3"]


def test_what_a_function_raises_is_its_answer_with_a_function_error(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): raise KeyError('breed')")
    error = function.fail()
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'breed'")
    assert error["requestId"]
    assert "KeyError('breed')" in error["stackTrace"][0]
    assert function.environments() == (1, 0)


def test_a_function_that_takes_too_long_is_ended_and_the_next_call_starts_anew(local_aws: Any, function: Any) -> None:
    local_aws.create_function(
        "import os, time\ndef handler(event, context):\n    time.sleep(event)\n    return os.getpid()", Timeout=1
    )
    first = function.invoke(0)
    answer = function.answer(600)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    told = f'{{"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: {request_id} '
    assert answer["Payload"].decode() == told + 'Error: Task timed out after 1.00 seconds"}'
    assert not function.runs(first)
    assert function.invoke(0) != first


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("os._exit(7)", "Runtime exited with error: exit status 7"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_function_whose_process_ends_is_an_error_of_that_call_alone(
    local_aws: Any, function: Any, how: str, message: str
) -> None:
    local_aws.create_function(f"import os\ndef handler(event, context):\n    if event: {how}\n    return 'well'")
    error = function.fail(1)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(f"Error: {message}")
    assert function.invoke(0) == "well"


def test_a_function_that_takes_more_memory_than_it_has_is_ended(local_aws: Any, function: Any) -> None:
    local_aws.create_function(
        "import time\ndef handler(event, context):\n    taken = b'x' * event\n    time.sleep(600 * (event > 0))",
        MemorySize=128,
        Timeout=60,
    )
    error = function.fail(300 * 2**20)
    assert error["errorType"] == "Runtime.OutOfMemory"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    assert function.invoke(0) is None


def test_an_environment_that_dies_between_calls_is_replaced(local_aws: Any, function: Any) -> None:
    local_aws.create_function(PID)
    pid = function.invoke()
    function.end(pid)
    assert function.invoke() != pid
    assert function.environments() == (1, 0)


@pytest.mark.parametrize(
    ("source", "error_type", "message"),
    [
        ("import not_in_the_zip", "Runtime.ImportModuleError", "No module named 'not_in_the_zip'"),
        ("def other(event, context): pass", "Runtime.HandlerNotFound", "Handler 'handler' missing"),
        ("def handler(", "Runtime.UserCodeSyntaxError", "Syntax error in module 'module'"),
        ("raise ValueError('breed')", "ValueError", "breed"),
    ],
)
def test_a_function_that_cannot_be_initialised_fails_at_each_call(
    local_aws: Any, function: Any, source: str, error_type: str, message: str
) -> None:
    local_aws.create_function(source)
    for _ in range(2):
        error = function.fail()
        assert error["errorType"] == error_type
        assert message in error["errorMessage"]
        assert function.pids() == []


def test_an_init_phase_that_is_too_long_is_begun_again_within_the_call(
    local_aws_with: Callable[..., Any], function: Any
) -> None:
    function.local_aws = local_aws_with(init_timeout=1.0)
    function.local_aws.create_function(SLOW_AT_FIRST, Timeout=60)
    lines = function.tail()
    assert "Phase: init\tStatus: timeout" in lines[0]
    assert lines[0].startswith("INIT_REPORT Init Duration: ")
    assert "Init Duration" not in lines[-1]
    assert "Status" not in lines[-1]
    assert function.invoke() == "well"


def test_an_init_phase_that_takes_longer_than_the_function_may_is_a_timeout(
    local_aws_with: Callable[..., Any], function: Any
) -> None:
    function.local_aws = local_aws_with(init_timeout=0.5)
    function.local_aws.create_function("import time; time.sleep(600)", Timeout=1)
    error = function.fail()
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert function.pids() == []


@pytest.mark.parametrize("change", ["code", "configuration"])
def test_a_change_retires_the_environments(local_aws: Any, function: Any, change: str) -> None:
    source = "import os\ndef handler(event, context): return [os.getpid(), os.environ.get('COLOUR'), %d]"
    local_aws.create_function(source % 1)
    old, *_ = function.invoke()
    if change == "code":
        function.api.update_function_code(FunctionName="function", ZipFile=local_aws.zip_of(source % 2))
        expected: list[Any] = [None, 2]
    else:
        variables = {"Variables": {"COLOUR": "red"}}
        function.api.update_function_configuration(FunctionName="function", Environment=variables)
        expected = ["red", 1]
    assert not function.runs(old)
    new, *seen = function.invoke()
    assert new != old
    assert seen == expected


def test_a_change_retires_an_environment_at_work_when_it_is_done(local_aws: Any, function: Any, tmp_path: Path) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(function.invoke, str(gate))
        local_aws.eventually(lambda: function.environments() == (1, 1))
        function.api.update_function_configuration(FunctionName="function", Timeout=20)
        gate.touch()
        old = call.result()
    local_aws.eventually(lambda: not function.runs(old))
    assert function.environments() == (0, 0)


def test_deleting_a_function_ends_its_environments(local_aws: Any, function: Any) -> None:
    local_aws.create_function(PID)
    pid = function.invoke()
    function.api.delete_function(FunctionName="function")
    assert not function.runs(pid)
    assert function.refused(function.invoke)["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "Function not found: arn:aws:lambda:us-east-1:123456789012:function:function",
    }


def test_what_a_function_has_started_ends_with_it(local_aws: Any, function: Any) -> None:
    source = """
import subprocess
def handler(event, context): return subprocess.Popen(["sleep", "600"]).pid
"""
    local_aws.create_function(source)
    child = function.invoke()
    function.api.delete_function(FunctionName="function")
    local_aws.eventually(lambda: not function.runs(child))


def test_no_thread_and_no_descriptor_is_left_of_many_environments(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import os\ndef handler(event, context): os._exit(1)")
    this = psutil.Process()

    def used() -> tuple[int, int]:
        return this.num_fds(), this.num_threads()

    function.fail()
    before = used()
    for _ in range(5):
        function.fail()
    assert function.pids() == []
    local_aws.eventually(lambda: all(now <= then for now, then in zip(used(), before, strict=True)))
