"""What Lambda logs: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html."""

from __future__ import annotations

import re
from typing import Any

import pytest

DURATION = r"Duration: [\d.]+ ms"
REPORT = rf"{DURATION}\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB"
GROUP = "/aws/lambda/function"


def told(line: str, field: str) -> float:
    """The number in a field of a report."""
    found = re.search(rf"\b{field}: ([\d.]+) ", line)
    assert found, line
    return float(found[1])


def test_the_log_has_the_lines_that_lambda_writes(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): print('looking'); print(context.aws_request_id)")
    for init in (r"\tInit Duration: [\d.]+ ms", ""):
        start, first, request_id, end, report = function.tail()
        assert start == f"START RequestId: {request_id} Version: $LATEST"
        assert first == "looking"
        assert end == f"END RequestId: {request_id}"
        assert re.fullmatch(rf"REPORT RequestId: {request_id}\t{REPORT}{init}\t", report)
    logged = local_aws.logged(GROUP)
    assert logged.count("looking") == 2
    assert sum(line.startswith("REPORT") for line in logged) == 2


def test_the_init_phase_is_billed(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import time\ntime.sleep(0.3)\ndef handler(event, context): time.sleep(0.2)")
    cold, warm = function.tail()[-1], function.tail()[-1]
    assert told(cold, "Init Duration") >= 300
    assert 200 <= told(cold, r"(?<!Billed )(?<!Init )Duration") < told(cold, "Billed Duration")
    assert told(cold, "Billed Duration") >= 500
    assert 0 <= told(warm, "Billed Duration") - told(warm, r"(?<!Billed )Duration") <= 1


def test_the_report_tells_the_memory_that_was_used(local_aws: Any, function: Any) -> None:
    local_aws.create_function(
        "kept = []\ndef handler(event, context): kept.append(b'x' * event)", MemorySize=512, Timeout=60
    )
    before, after = (
        int(re.findall(r"Memory Size: 512 MB\tMax Memory Used: (\d+) MB", function.tail(size)[-1])[0])
        for size in (0, 100 * 2**20)
    )
    assert 5 < before < 100
    assert after >= before + 95


def test_each_environment_has_a_stream_of_its_own(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): return context.log_stream_name")
    version = function.publish()
    streams = [function.invoke(), function.invoke(), function.invoke(Qualifier=version)]
    assert streams[0] == streams[1]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", streams[0])
    assert re.fullmatch(rf"\d{{4}}/\d\d/\d\d/\[{version}\][0-9a-f]{{32}}", streams[2])
    found = local_aws.client("logs").describe_log_streams(logGroupName=GROUP)["logStreams"]
    assert sorted(stream["logStreamName"] for stream in found) == sorted(set(streams))


def test_what_a_function_raises_is_in_the_log(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): raise KeyError('breed')")
    _, error, *_, report = function.tail()
    assert error.startswith("[ERROR] KeyError: 'breed'")
    assert "Status" not in report  # the environment is well


def test_the_log_of_a_timeout(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import time\ndef handler(event, context): time.sleep(600)", Timeout=1)
    start, *lines = function.tail()
    request_id = start.split()[2]
    assert re.fullmatch(
        rf"[\d-]+T[\d:]+\.\d{{3}}Z {request_id} Task timed out after 1\.00 seconds\n\n"
        rf"END RequestId: {request_id}\nREPORT RequestId: {request_id}\t{REPORT}\tInit {DURATION}\tStatus: timeout\t",
        "\n".join(lines),
    )
    assert told(lines[-1], r"(?<!Billed )(?<!Init )Duration") >= 1000


def test_the_log_of_a_process_that_ends(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import os\ndef handler(event, context): os._exit(7)")
    start, *lines, report = function.tail()
    request_id = start.split()[2]
    message = "Runtime exited with error: exit status 7"
    assert lines == [f"RequestId: {request_id} Error: {message}", "Runtime.ExitError", f"END RequestId: {request_id}"]
    assert report.endswith("\tStatus: error\tError Type: Runtime.ExitError\t")


def test_the_log_of_an_init_phase_that_fails(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import not_in_the_zip")
    lines = function.tail()
    kind = "Error Type: Runtime.ImportModuleError"
    assert [line for line in lines if line.startswith("INIT_REPORT")] == [
        line
        for line in lines
        if re.fullmatch(rf"INIT_REPORT Init {DURATION}\tPhase: (init|invoke)\tStatus: error\t{kind}", line)
    ]
    # Lambda tries once ahead of the event, and once with it.
    assert [re.findall(r"Phase: (\w+)", line)[0] for line in lines if "Phase" in line] == ["init", "invoke"]
    assert sum("No module named 'not_in_the_zip'" in line for line in lines) == 2
    assert lines[-1].endswith(f"\tStatus: error\t{kind}\t")
    assert "Init Duration" not in lines[-1]


def test_the_tail_is_the_last_4_kb(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context):\n    for n in range(1000): print(f'{n:09}')")
    lines = function.tail()
    assert sum(len(line) + 1 for line in lines) == 4096
    assert (lines[1], lines[-3]) != ("000000000", "000000999")
    assert lines[-3] == "000000999"
    assert "LogResult" not in function.answer()
    assert "000000000" in local_aws.logged(GROUP)


def test_a_function_can_log_to_another_group(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): print('hello')", LoggingConfig={"LogGroup": "elsewhere"})
    function.invoke()
    assert "hello" in local_aws.logged("elsewhere")


@pytest.mark.parametrize("allowed", ["logs:PutLogEvents", "logs:CreateLogGroup"])
def test_nothing_is_logged_that_the_role_may_not_log(local_aws: Any, function: Any, allowed: str) -> None:
    role = local_aws.create_role("silent", local_aws.allow(allowed))
    local_aws.create_function("def handler(event, context): print('hello')", role=role)
    assert function.tail()[1] == "hello"
    groups = local_aws.client("logs").describe_log_groups()["logGroups"]
    assert all(group["storedBytes"] == 0 for group in groups)


def test_the_log_goes_by_the_clock_however_far_that_is_ahead(local_aws: Any, function: Any) -> None:
    local_aws.gateway.clock.advance(local_aws.gateway.clock.time() + 2 * 86_400)
    local_aws.create_function("def handler(event, context): print('hello')")
    function.invoke()
    now = local_aws.gateway.clock.time() * 1000
    events = local_aws.client("logs").filter_log_events(logGroupName=GROUP)["events"]
    assert all(abs(event["timestamp"] - now) < 60_000 for event in events)
