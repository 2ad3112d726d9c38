"""What callers do at the same time: each call is answered, and in the end nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
from botocore.exceptions import ClientError

from whippet.local.clock import Clock

SCALED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/endpoint/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
ROUNDS = 40


def codes(call: Callable[[], Any]) -> set[str]:
    """The codes of the errors of so many calls, one after the other."""
    found = set()
    for _ in range(ROUNDS):
        try:
            call()
        except ClientError as error:
            found.add(error.response["Error"]["Code"])
    return found


def test_updates_scaling_and_calls_at_the_same_time_do_not_disturb_one_another(
    local_aws: Any, endpoint: Any, fast_clock: Clock
) -> None:
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    sagemaker, scaling = local_aws.client("sagemaker"), local_aws.client("application-autoscaling")
    bounds = iter([1, 2, 3] * ROUNDS)

    def register() -> None:
        least = next(bounds)
        scaling.register_scalable_target(**SCALED, MinCapacity=least, MaxCapacity=least + 1)

    def deregister() -> None:
        endpoint.invoke()  # takes a moment
        scaling.deregister_scalable_target(**SCALED)

    def change() -> None:
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="endpoint", DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 2}]
        )

    calls = (lambda: endpoint.update("new"), change, register, deregister, endpoint.describe, endpoint.invoke)
    with ThreadPoolExecutor(len(calls)) as pool:
        updated, changed, registered, deregistered, described, invoked = pool.map(codes, calls)
    assert updated | changed <= {"ValidationException"}  # the endpoint was being changed
    assert deregistered <= {"ObjectNotFoundException"}
    assert (registered, described, invoked) == (set(), set(), set())
    assert local_aws.settled()["EndpointStatus"] == "InService"
    local_aws.eventually(lambda: len(endpoint.pids()) == endpoint.variant()["DesiredInstanceCount"])
    pids = endpoint.pids()
    local_aws.eventually(lambda: codes_of_deletion(local_aws) == set())
    local_aws.eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])
    assert not any(psutil.pid_exists(pid) for pid in pids)


def codes_of_deletion(local_aws: Any) -> set[str]:
    """Tries to delete the endpoint, which may be refused while scaling still changes it."""
    try:
        local_aws.client("sagemaker").delete_endpoint(EndpointName="endpoint")
    except ClientError as error:
        return {error.response["Error"]["Code"]}
    return set()
