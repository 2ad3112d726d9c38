"""Provisioned concurrency: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from whippet.local.clock import Clock

#: Tells of its environment, as soon as there is a file.
TELL = """
import os, time
def handler(event, context):
    while not os.path.exists(event):
        time.sleep(0.01)
    return os.getpid(), os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""


@dataclass
class Provisioned:
    """Provisioned concurrency of a version or alias, as its clients see it."""

    function: Any
    qualifier: str

    def put(self, number: int) -> dict[str, Any]:
        """Asks for so many environments."""
        answer: dict[str, Any] = self.function.api.put_provisioned_concurrency_config(
            FunctionName="function", Qualifier=self.qualifier, ProvisionedConcurrentExecutions=number
        )
        return answer

    def get(self) -> dict[str, Any]:
        """The configuration."""
        told: dict[str, Any] = self.function.api.get_provisioned_concurrency_config(
            FunctionName="function", Qualifier=self.qualifier
        )
        return told

    def settled(self) -> dict[str, Any]:
        """The configuration once nothing is under way."""

        def told() -> Any:
            found = self.get()
            return found if found["Status"] != "IN_PROGRESS" else None

        found: dict[str, Any] = self.function.local_aws.eventually(told)
        return found

    def ready(self, number: int) -> list[int]:
        """The processes once so many environments are ready."""
        self.put(number)
        assert self.settled()["Status"] == "READY"
        pids: list[int] = self.function.pids()
        return pids


def numbers(told: dict[str, Any]) -> tuple[int, int, int]:
    names = ("Requested", "Allocated", "Available")
    requested, allocated, available = (told[f"{name}ProvisionedConcurrentExecutions"] for name in names)
    return requested, allocated, available


@pytest.fixture
def version(local_aws: Any, function: Any) -> Provisioned:
    """Version 1 of a function."""
    local_aws.create_function(TELL, Timeout=60, Publish=True)
    return Provisioned(function, "1")


def alias(function: Any, name: str = "live", version: str = "1", **options: Any) -> Provisioned:
    function.api.create_alias(FunctionName="function", Name=name, FunctionVersion=version, **options)
    return Provisioned(function, name)


def code(refused: dict[str, Any]) -> tuple[str, str]:
    return refused["Error"]["Code"], refused["Error"]["Message"]


def test_environments_are_initialised_ahead(function: Any, version: Provisioned) -> None:
    answer = version.put(2)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (answer["Status"], numbers(answer)) == ("IN_PROGRESS", (2, 0, 0))
    settled = version.settled()
    assert (settled["Status"], numbers(settled)) == ("READY", (2, 2, 2))
    pids = function.pids()
    assert len(pids) == 2
    assert function.environments() == (2, 0)
    pid, kind = function.invoke("/", Qualifier="1")
    assert pid in pids
    assert kind == "provisioned-concurrency"
    assert "Init Duration" not in function.tail("/", Qualifier="1")[-1]
    logged = function.local_aws.logged("/aws/lambda/function")
    assert sum(line.startswith("INIT_REPORT Init Duration: ") for line in logged) == 2
    # and the other versions start on demand
    assert function.invoke("/")[1] == "on-demand"


def test_what_exceeds_it_spills_over(function: Any, version: Provisioned, tmp_path: Path) -> None:
    [ahead] = version.ready(1)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(function.invoke, str(gate), Qualifier="1")
        function.local_aws.eventually(lambda: function.environments() == (1, 1))
        assert numbers(version.get()) == (1, 1, 0)
        second = pool.submit(function.invoke, str(gate), Qualifier="1")
        function.local_aws.eventually(lambda: function.environments() == (2, 2))
        gate.touch()
    assert first.result() == [ahead, "provisioned-concurrency"]
    assert second.result()[1] == "on-demand"
    assert function.invoke(str(gate), Qualifier="1")[0] == ahead


def test_it_stays_within_the_reservation(function: Any, version: Provisioned, tmp_path: Path) -> None:
    reserve = function.api.put_function_concurrency
    reserve(FunctionName="function", ReservedConcurrentExecutions=2)
    assert code(function.refused(version.put, 3))[0] == "InvalidParameterValueException"
    version.ready(2)
    refused = function.refused(function.invoke, "/")  # nothing is left for the other versions
    assert refused["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    lower = function.refused(reserve, FunctionName="function", ReservedConcurrentExecutions=1)
    assert code(lower)[0] == "InvalidParameterValueException"


def test_it_counts_against_the_accounts_pool(function: Any, version: Provisioned) -> None:
    assert "below its minimum value of [100]" in code(function.refused(version.put, 901))[1]
    version.ready(1)
    limits = function.api.get_account_settings()["AccountLimit"]
    assert limits["UnreservedConcurrentExecutions"] == 999


def test_fewer_are_wanted(function: Any, version: Provisioned) -> None:
    before = version.ready(3)
    version.ready(1)
    function.local_aws.eventually(lambda: len(function.pids()) == 1)  # those that go take a moment
    assert set(function.pids()) < set(before)
    assert numbers(version.get()) == (1, 1, 1)


def test_it_is_removed(function: Any, version: Provisioned) -> None:
    version.ready(1)
    function.api.delete_provisioned_concurrency_config(FunctionName="function", Qualifier="1")
    assert function.pids() == []
    assert code(function.refused(version.get)) == (
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )
    assert function.invoke("/", Qualifier="1")[1] == "on-demand"


def test_environments_stay_however_long_they_are_idle(function: Any, version: Provisioned, fast_clock: Clock) -> None:
    ahead = version.ready(1)
    function.invoke("/")
    assert function.environments() == (2, 0)
    fast_clock.speed = function.local_aws.settings.environment_idle * 5
    function.local_aws.eventually(lambda: function.environments() == (1, 0))
    assert function.pids() == ahead


def test_an_environment_that_has_failed_is_initialised_again(function: Any, version: Provisioned) -> None:
    [pid] = version.ready(1)
    function.end(pid)
    again, kind = function.invoke("/", Qualifier="1")
    assert again != pid
    assert kind == "provisioned-concurrency"


def test_an_init_phase_that_fails_is_the_status(local_aws: Any, function: Any) -> None:
    local_aws.create_function("import not_in_the_zip", Publish=True)
    version = Provisioned(function, "1")
    version.put(2)
    settled = version.settled()
    assert (settled["Status"], settled["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")
    assert numbers(settled) == (2, 0, 0)
    assert function.pids() == []


def test_an_alias_takes_its_environments_along(function: Any, version: Provisioned) -> None:
    live = alias(function)
    before = live.ready(2)
    second = function.publish(TELL + "#")
    function.api.update_alias(FunctionName="function", Name="live", FunctionVersion=second)
    function.local_aws.eventually(lambda: live.get()["Status"] == "READY" and not set(before) & set(function.pids()))
    answer = function.answer("/", Qualifier="live")
    assert answer["ExecutedVersion"] == second
    assert b"provisioned-concurrency" in answer["Payload"]
    assert function.invoke("/", Qualifier=second)[1] == "on-demand"  # they are the alias's, not the version's


def test_what_belongs_to_it_goes_with_the_alias_and_with_the_function(function: Any, version: Provisioned) -> None:
    live = alias(function)
    live.ready(1)
    function.api.delete_alias(FunctionName="function", Name="live")
    assert function.pids() == []
    alias(function)
    assert code(function.refused(live.get))[0] == "ProvisionedConcurrencyConfigNotFoundException"
    version.ready(1)
    function.api.delete_function(FunctionName="function")
    assert function.pids() == []


def test_configurations_are_listed(function: Any, version: Provisioned) -> None:
    second = function.publish(TELL + "#")
    version.ready(1)
    alias(function, version=second).ready(1)
    told = function.api.list_provisioned_concurrency_configs(FunctionName="function")
    arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    assert {one["FunctionArn"]: one["Status"] for one in told["ProvisionedConcurrencyConfigs"]} == {
        f"{arn}:1": "READY",
        f"{arn}:live": "READY",
    }


def test_a_version_is_provisioned_for_once(function: Any, version: Provisioned) -> None:
    live = alias(function)
    version.ready(1)
    assert code(function.refused(live.put, 1))[0] == "ResourceConflictException"
    function.api.delete_provisioned_concurrency_config(FunctionName="function", Qualifier="1")
    live.ready(1)
    assert code(function.refused(version.put, 1))[0] == "ResourceConflictException"


def test_what_cannot_be_provisioned_is_refused(function: Any, version: Provisioned) -> None:
    latest = alias(function, "latest", "$LATEST")
    for unpublished in (Provisioned(function, "$LATEST"), latest):
        assert code(function.refused(unpublished.put, 1)) == (
            "InvalidParameterValueException",
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        )
    assert code(function.refused(Provisioned(function, "7").put, 1))[0] == "ResourceNotFoundException"
    second = function.publish(TELL + "#")
    routed = alias(function, "routed", RoutingConfig={"AdditionalVersionWeights": {second: 0.5}})
    assert code(function.refused(routed.put, 1)) == (
        "InvalidParameterValueException",
        "Alias with weights can not be used with Provisioned Concurrency",
    )
