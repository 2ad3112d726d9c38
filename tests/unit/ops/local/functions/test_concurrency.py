"""Reserved concurrency and the account's pool: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Waits for a file.
WAIT = """
import os, time
def handler(event, context):
    while not os.path.exists(event):
        time.sleep(0.01)
    return "done"
"""
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
ACCOUNT = "ConcurrentInvocationLimitExceeded"


@contextmanager
def at_work(function: Any, calls: int, gate: Path) -> Iterator[list[Future[Any]]]:
    """Keeps a function busy with so many calls."""
    gate.unlink(missing_ok=True)
    _, before = function.environments()
    with ThreadPoolExecutor(calls) as pool:
        running = [pool.submit(function.invoke, str(gate)) for _ in range(calls)]
        try:
            function.local_aws.eventually(lambda: function.environments()[1] == before + calls)
            yield running
        finally:
            gate.touch()
        assert {call.result() for call in running} == {"done"}


def other(function: Any, name: str = "other") -> Any:
    """Another function of the same local AWS."""
    function.local_aws.create_function(WAIT, name=name, Timeout=60)
    return type(function)(function.local_aws, name)


def reserve(function: Any, number: int) -> None:
    function.api.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=number)


def reason(function: Any) -> str:
    """Why a call is throttled."""
    response = function.refused(function.invoke, "")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Error"] == {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}
    assert (headers["retry-after"], headers["x-amzn-errortype"]) == ("1", "TooManyRequestsException")
    assert response["Type"] == "User"
    return str(response["Reason"])


def test_reserved_concurrency_is_a_ceiling(local_aws: Any, function: Any, tmp_path: Path) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    reserve(function, 2)
    with at_work(function, 2, tmp_path / "gate"):
        assert reason(function) == RESERVED
        assert len(function.pids()) == 2
    (tmp_path / "open").touch()
    assert function.invoke(str(tmp_path / "open")) == "done"
    assert function.environments() == (2, 0)


def test_reserved_concurrency_is_a_ceiling_for_calls_that_come_at_once(
    local_aws: Any, function: Any, tmp_path: Path
) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    reserve(function, 5)
    gate = tmp_path / "gate"

    def call(_: int) -> str:
        try:
            return str(function.invoke(str(gate)))
        except function.api.exceptions.TooManyRequestsException:
            return "throttled"

    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(call, number) for number in range(40)]
        try:
            local_aws.eventually(lambda: sum(one.done() for one in calls) == 35)
            assert function.environments() == (5, 5)
        finally:
            gate.touch()
        assert Counter(one.result() for one in calls) == {"throttled": 35, "done": 5}
    assert len(function.pids()) == 5


def test_a_reservation_counts_all_versions_together(local_aws: Any, function: Any, tmp_path: Path) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    version = function.publish()
    reserve(function, 1)
    (tmp_path / "open").touch()
    assert function.invoke(str(tmp_path / "open"), Qualifier=version) == "done"
    [of_version] = function.pids()
    with at_work(function, 1, tmp_path / "gate"):
        assert not function.runs(of_version)  # it has made room
        assert function.refused(function.invoke, "", Qualifier=version)["Reason"] == RESERVED


def test_a_reservation_of_zero_stops_a_function(local_aws: Any, function: Any) -> None:
    local_aws.create_function(WAIT)
    reserve(function, 0)
    assert reason(function) == RESERVED
    function.api.delete_function_concurrency(FunctionName="function")
    assert function.invoke("/") == "done"


def test_a_lower_reservation_ends_environments_that_wait(local_aws: Any, function: Any, tmp_path: Path) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    with at_work(function, 3, tmp_path / "gate"):
        pass
    assert function.environments() == (3, 0)
    reserve(function, 1)
    assert function.environments() == (1, 0)
    assert len(function.pids()) == 1


def test_functions_without_a_reservation_share_the_accounts_pool(
    local_aws_with: Callable[..., Any], function: Any, tmp_path: Path
) -> None:
    function.local_aws = local_aws_with(account_concurrency=2)
    function.local_aws.create_function(WAIT, Timeout=60)
    second = other(function)
    with at_work(function, 1, tmp_path / "one"), at_work(second, 1, tmp_path / "two"):
        assert reason(function) == reason(second) == ACCOUNT
    assert function.invoke("/") == "done"


def test_a_reservation_is_a_floor_too(
    local_aws: Any, local_aws_with: Callable[..., Any], function: Any, tmp_path: Path
) -> None:
    local_aws.create_function(WAIT, Timeout=60)
    reserve(function, 2)
    function.local_aws = local_aws_with(account_concurrency=3)  # the quota is lowered: one stays for the others
    second = other(function)
    with at_work(second, 1, tmp_path / "other"):
        assert reason(second) == ACCOUNT
        with at_work(function, 2, tmp_path / "own"):
            assert reason(function) == RESERVED


def test_a_hundred_executions_stay_unreserved(local_aws: Any, function: Any) -> None:
    local_aws.create_function(WAIT)
    second = other(function)
    error = function.refused(reserve, function, 901)["Error"]
    assert error == {
        "Code": "InvalidParameterValueException",
        "Message": "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    }
    reserve(function, 900)
    assert function.refused(reserve, second, 1)["Error"]["Code"] == "InvalidParameterValueException"
    reserve(function, 899)
    reserve(second, 1)


def test_a_new_account_has_nothing_to_reserve(local_aws_with: Callable[..., Any], function: Any) -> None:
    function.local_aws = local_aws_with(account_concurrency=10)
    function.local_aws.create_function(WAIT)
    error = function.refused(reserve, function, 5)["Error"]
    assert error["Message"].endswith("below its minimum value of [10].")
    reserve(function, 0)


def test_the_account_settings_tell_what_is_left(local_aws: Any, function: Any) -> None:
    def limits() -> tuple[int, int]:
        told = function.api.get_account_settings()["AccountLimit"]
        return told["ConcurrentExecutions"], told["UnreservedConcurrentExecutions"]

    assert limits() == (1000, 1000)
    local_aws.create_function(WAIT)
    reserve(function, 5)
    assert limits() == (1000, 995)
    usage = function.api.get_account_settings()["AccountUsage"]
    assert usage == {"FunctionCount": 1, "TotalCodeSize": len(local_aws.zip_of(WAIT))}
    function.api.delete_function_concurrency(FunctionName="function")
    assert limits() == (1000, 1000)


def test_a_reservation_is_told(local_aws: Any, function: Any) -> None:
    local_aws.create_function(WAIT)
    assert "ReservedConcurrentExecutions" not in function.api.get_function_concurrency(FunctionName="function")
    assert "Concurrency" not in function.api.get_function(FunctionName="function")
    reserve(function, 5)
    told = function.api.get_function_concurrency(FunctionName="function")
    assert told["ReservedConcurrentExecutions"] == 5
    assert function.api.get_function(FunctionName="function")["Concurrency"] == {"ReservedConcurrentExecutions": 5}


def test_a_reservation_belongs_to_a_function_that_exists(local_aws: Any, function: Any) -> None:
    error = function.refused(reserve, function, 5)["Error"]
    assert error["Code"] == "ResourceNotFoundException"
    with pytest.raises(function.api.exceptions.ResourceNotFoundException):
        function.api.get_function_concurrency(FunctionName="function")
