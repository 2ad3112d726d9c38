from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

ECHO = "def handler(event, context): return {'event': event, 'id': context.aws_request_id}"
PID = "import os\ndef handler(event, context): return os.getpid()"


def invoke(local_aws: Any, event: Any = None, name: str = "function", **options: Any) -> Any:
    """What the function returns."""
    answer = local_aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def invoke_failing(local_aws: Any, event: Any = None) -> dict[str, Any]:
    answer = local_aws.client("lambda").invoke(FunctionName="function", Payload=json.dumps(event).encode())
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    return payload


def environments(local_aws: Any) -> tuple[int, int]:
    [function] = local_aws.gateway.status()["functions"]
    return function["environments"], function["busy"]


def test_the_zip_answers_in_a_process_of_its_own(local_aws: Any) -> None:
    local_aws.create_function(ECHO)
    answer = local_aws.client("lambda").invoke(FunctionName="function", Payload=b'{"a": 1}')
    payload = json.loads(answer["Payload"].read())
    assert payload["event"] == {"a": 1}
    assert payload["id"] == answer["ResponseMetadata"]["RequestId"]
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")


def test_an_environment_stays_warm_between_calls(local_aws: Any) -> None:
    local_aws.create_function(PID)
    pids = {invoke(local_aws) for _ in range(5)}
    assert len(pids) == 1
    assert environments(local_aws) == (1, 0)


def test_a_function_can_be_named_by_its_arn(local_aws: Any) -> None:
    local_aws.create_function(ECHO)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    assert invoke(local_aws, {"a": 1}, name=arn)["event"] == {"a": 1}
    assert invoke(local_aws, {"a": 1}, name=f"{arn}:$LATEST")["event"] == {"a": 1}


def test_the_environment_is_lambdas_and_not_the_hosts(local_aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MINE", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    source = "import os\ndef handler(event, context): return dict(os.environ)"
    local_aws.create_function(source, Environment={"Variables": {"COLOUR": "grey"}}, MemorySize=256)
    seen = invoke(local_aws)
    assert seen.keys().isdisjoint({"AWS_MINE", "HTTPS_PROXY", "VIRTUAL_ENV", "USER"})
    assert seen["COLOUR"] == "grey"
    assert seen["AWS_ENDPOINT_URL"] == local_aws.settings.url
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["AWS_REGION"] == "us-east-1"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")


def test_the_function_calls_aws_as_its_role(local_aws: Any) -> None:
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
    assert invoke(local_aws) == {
        "caller": "arn:aws:sts::123456789012:assumed-role/function-role/function",
        "denied": "AccessDenied",
    }


def test_a_function_sees_the_runtimes_packages_and_no_others(local_aws: Any) -> None:
    source = """
import importlib.util
def handler(event, context): return {name: importlib.util.find_spec(name) is not None for name in event}
"""
    local_aws.create_function(source)
    wanted = ["boto3", "urllib3", "whippet_lambda", "moto", "numpy", "pip"]
    found = invoke(local_aws, wanted)
    assert [name for name in wanted if found[name]] == ["boto3", "urllib3"]


def test_what_a_function_raises_is_its_answer_with_a_function_error(local_aws: Any) -> None:
    local_aws.create_function("def handler(event, context): raise KeyError('breed')")
    error = invoke_failing(local_aws)
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'breed'")
    assert environments(local_aws) == (1, 0)


def test_a_function_that_takes_too_long_is_ended_and_the_next_call_starts_anew(local_aws: Any) -> None:
    local_aws.create_function(
        "import os, time\ndef handler(event, context):\n    time.sleep(event)\n    return os.getpid()", Timeout=1
    )
    first = invoke(local_aws, 0)
    error = invoke_failing(local_aws, 30)
    assert error["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(r"RequestId: \S+ Error: Task timed out after 1.00 seconds", error["errorMessage"])
    assert not psutil.pid_exists(first)
    assert invoke(local_aws, 0) != first


def test_a_function_whose_process_ends_is_an_error_of_that_call_alone(local_aws: Any) -> None:
    local_aws.create_function(
        "import os\ndef handler(event, context):\n    if event: os._exit(event)\n    return 'well'"
    )
    error = invoke_failing(local_aws, 7)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: exit status 7")
    assert invoke(local_aws, 0) == "well"


def test_an_environment_that_dies_between_calls_is_replaced(local_aws: Any) -> None:
    local_aws.create_function(PID)
    pid = invoke(local_aws)
    os.kill(pid, signal.SIGKILL)
    [environment] = local_aws.gateway._functions._environments
    local_aws.eventually(lambda: not environment.is_alive())
    assert invoke(local_aws) != pid
    assert environments(local_aws) == (1, 0)


def test_a_handler_that_cannot_be_imported_is_an_init_error(local_aws: Any) -> None:
    local_aws.create_function("import not_in_the_zip\ndef handler(event, context): pass")
    error = invoke_failing(local_aws)
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "not_in_the_zip" in error["errorMessage"]
    assert environments(local_aws) == (0, 0)


def test_the_log_has_the_lines_that_lambda_writes(local_aws: Any) -> None:
    local_aws.create_function("def handler(event, context): print('looking'); print('at it')")
    client = local_aws.client("lambda")
    answers = [client.invoke(FunctionName="function", LogType="Tail") for _ in range(2)]
    for answer, init in zip(answers, (r"\tInit Duration: [\d.]+ ms", ""), strict=True):
        request_id = answer["ResponseMetadata"]["RequestId"]
        tail = base64.b64decode(answer["LogResult"]).decode()
        assert re.fullmatch(
            rf"START RequestId: {request_id} Version: \$LATEST\nlooking\nat it\nEND RequestId: {request_id}\n"
            rf"REPORT RequestId: {request_id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB"
            rf"\tMax Memory Used: \d+ MB{init}\t\n",
            tail,
        ), tail
    logged = local_aws.logged("/aws/lambda/function")
    assert [message for message in logged if message.startswith(("looking", "at it"))] == ["looking", "at it"] * 2
    assert sum(message.startswith("REPORT") for message in logged) == 2


def test_nothing_is_logged_that_the_role_may_not_log(local_aws: Any) -> None:
    role = local_aws.create_role("silent", local_aws.allow("logs:PutLogEvents"))
    local_aws.create_function("def handler(event, context): print('hello')", role=role)
    invoke(local_aws)
    assert local_aws.client("logs").describe_log_groups()["logGroups"] == []


def test_concurrent_calls_get_an_environment_each(local_aws: Any) -> None:
    local_aws.create_function(
        "import os, time\ndef handler(event, context):\n    time.sleep(0.5)\n    return os.getpid()"
    )
    with ThreadPoolExecutor(3) as pool:
        pids = list(pool.map(lambda _: invoke(local_aws), range(3)))
    assert len(set(pids)) == 3
    assert environments(local_aws) == (3, 0)


def test_reserved_concurrency_is_a_ceiling_whatever_comes(local_aws: Any) -> None:
    local_aws.create_function(
        "import time\ndef handler(event, context):\n    time.sleep(0.3)\n    return 'done'", Timeout=30
    )
    client = local_aws.client("lambda")
    client.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=5)
    most = 0

    def call(_: int) -> str:
        nonlocal most
        try:
            answer = client.invoke(FunctionName="function")
        except client.exceptions.TooManyRequestsException as error:
            assert error.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
            assert error.response["Error"]["Message"] == "Rate Exceeded."
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
            assert (headers["retry-after"], headers["x-amzn-errortype"]) == ("1", "TooManyRequestsException")
            most = max(most, environments(local_aws)[0])
            return "throttled"
        return json.loads(answer["Payload"].read())  # type: ignore[no-any-return]

    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(call, range(60)))
    assert set(answers) == {"done", "throttled"}
    assert answers.count("done") >= 5
    assert most <= 5
    running = [one for one in psutil.Process().children(recursive=True) if "awslambdaric" in " ".join(one.cmdline())]
    assert len(running) <= 5
    assert environments(local_aws) == (len(running), 0)


def test_a_reservation_of_zero_stops_a_function(local_aws: Any) -> None:
    local_aws.create_function(ECHO)
    client = local_aws.client("lambda")
    client.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.invoke(FunctionName="function")


def test_an_event_is_taken_at_once_and_handled_later(local_aws: Any) -> None:
    local_aws.create_function("def handler(event, context): print('handled', event['n'])")
    client = local_aws.client("lambda")
    client.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=1)
    for number in range(3):
        answer = client.invoke(FunctionName="function", InvocationType="Event", Payload=b'{"n": %d}' % number)
        assert answer["StatusCode"] == 202
        assert answer["Payload"].read() == b""

    def handled() -> bool:
        groups = local_aws.client("logs").describe_log_groups()["logGroups"]
        lines = local_aws.logged("/aws/lambda/function") if groups else []
        return sum(line.startswith("handled") for line in lines) == 3

    local_aws.eventually(handled)
    assert environments(local_aws)[0] == 1


def test_a_dry_run_starts_nothing(local_aws: Any) -> None:
    local_aws.create_function(ECHO)
    answer = local_aws.client("lambda").invoke(FunctionName="function", InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert environments(local_aws) == (0, 0)


@pytest.mark.parametrize("change", ["code", "configuration"])
def test_a_change_retires_the_environments(local_aws: Any, change: str) -> None:
    source = "import os\ndef handler(event, context): return [os.getpid(), os.environ.get('COLOUR'), %d]"
    local_aws.create_function(source % 1)
    client = local_aws.client("lambda")
    old, *_ = invoke(local_aws)
    if change == "code":
        client.update_function_code(FunctionName="function", ZipFile=local_aws.zip_of(source % 2))
        expected = [None, 2]
    else:
        client.update_function_configuration(FunctionName="function", Environment={"Variables": {"COLOUR": "red"}})
        expected = ["red", 1]
    assert not psutil.pid_exists(old)
    new, *seen = invoke(local_aws)
    assert new != old
    assert seen == expected


def test_a_change_retires_an_environment_at_work_when_it_is_done(local_aws: Any) -> None:
    local_aws.create_function(
        "import os, time\ndef handler(event, context):\n    time.sleep(1)\n    return os.getpid()"
    )
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(invoke, local_aws)
        local_aws.eventually(lambda: environments(local_aws)[1] == 1)
        time.sleep(0.2)
        local_aws.client("lambda").update_function_configuration(FunctionName="function", Timeout=20)
        old = call.result()
    local_aws.eventually(lambda: not psutil.pid_exists(old))
    assert environments(local_aws) == (0, 0)


def test_deleting_a_function_ends_its_environments(local_aws: Any) -> None:
    local_aws.create_function(PID)
    pid = invoke(local_aws)
    local_aws.client("lambda").delete_function(FunctionName="function")
    assert not psutil.pid_exists(pid)
    with pytest.raises(ClientError) as missing:
        invoke(local_aws)
    assert missing.value.response["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "Function not found: arn:aws:lambda:us-east-1:123456789012:function:function",
    }


def test_code_can_come_from_s3(local_aws: Any) -> None:
    s3, client = local_aws.client("s3"), local_aws.client("lambda")
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="function.zip", Body=local_aws.zip_of(ECHO))
    client.create_function(
        FunctionName="function",
        Runtime="python3.12",
        Handler="module.handler",
        Role=local_aws.create_role("function-role", local_aws.allow("logs:*")),
        Code={"S3Bucket": "code", "S3Key": "function.zip"},
    )
    assert invoke(local_aws, 1)["event"] == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"{", "InvalidRequestContentException"), (b'"%s"' % (b"x" * 6_291_456), "RequestTooLargeException")],
)
def test_an_event_that_lambda_does_not_take(local_aws: Any, payload: bytes, code: str) -> None:
    local_aws.create_function(ECHO)
    with pytest.raises(ClientError) as refused:
        local_aws.client("lambda").invoke(FunctionName="function", Payload=payload)
    assert refused.value.response["Error"]["Code"] == code


def test_an_answer_beyond_the_limit_is_a_function_error(local_aws: Any) -> None:
    local_aws.create_function("def handler(event, context): return 'x' * 6_300_000", Timeout=20)
    assert invoke_failing(local_aws)["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_large_event_and_answer_arrive_whole(local_aws: Any) -> None:
    local_aws.create_function(ECHO, Timeout=20)
    event = "x" * 5_000_000
    assert invoke(local_aws, event)["event"] == event


def test_a_package_that_is_no_zip_is_named(local_aws: Any) -> None:
    s3, client = local_aws.client("s3"), local_aws.client("lambda")
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="function.zip", Body=b"not a zip")
    client.create_function(
        FunctionName="function",
        Runtime="python3.12",
        Handler="module.handler",
        Role=local_aws.create_role("function-role", local_aws.allow("logs:*")),
        Code={"S3Bucket": "code", "S3Key": "function.zip"},
    )
    with pytest.raises(ClientError) as refused:
        client.invoke(FunctionName="function")
    assert refused.value.response["Error"]["Code"] == "InvalidZipFileException"
    assert environments(local_aws) == (0, 0)
