"""What survives when local AWS stops and starts again: here its endpoints alone, the records stay in memory."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock
from whippet.local.endpoints.records import deployed_in


def restart(local_aws: Any) -> None:
    local_aws.gateway._endpoints.stop()
    local_aws.gateway._endpoints.resume()


def test_endpoints_come_back_with_what_they_had(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    local_aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="endpoint",
        DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 2, "DesiredWeight": 3.0}],
    )
    before = {**local_aws.settled(), "LastModifiedTime": None, "ResponseMetadata": None}
    pids = endpoint.pids()
    restart(local_aws)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert {**local_aws.settled(), "LastModifiedTime": None, "ResponseMetadata": None} == before
    assert len(endpoint.pids()) == 2
    assert endpoint.invoke()["model"] == "good"


def test_what_is_on_record_can_be_saved(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    deployed = deployed_in("us-east-1")["endpoint"]
    assert pickle.loads(pickle.dumps(deployed)) == deployed


def test_an_endpoint_comes_back_without_the_configuration_and_the_model_it_was_made_of(
    local_aws: Any, endpoint: Any
) -> None:
    local_aws.create_endpoint()
    local_aws.client("sagemaker").delete_endpoint_config(EndpointConfigName="endpoint-config")
    local_aws.client("sagemaker").delete_model(ModelName="endpoint-config")
    restart(local_aws)
    assert local_aws.settled()["EndpointStatus"] == "InService"
    assert endpoint.invoke()["model"] == "good"


def test_an_update_that_was_interrupted_leaves_the_last_configuration(
    local_aws: Any, endpoint: Any, fast_clock: Clock
) -> None:
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "never healthy")
    endpoint.update("new")
    local_aws.eventually(lambda: len(endpoint.pids()) == 2)
    restart(local_aws)
    described = local_aws.settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "endpoint-config")
    assert "interrupted" in described["FailureReason"]
    assert endpoint.models(2) == {"old": 2}


def test_an_endpoint_that_was_being_created_is_created(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint_config("config", "healthy after 1")
    local_aws.client("sagemaker").create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    local_aws.eventually(endpoint.pids)
    restart(local_aws)
    assert local_aws.settled()["EndpointStatus"] == "InService"


def test_an_endpoint_that_has_failed_or_goes_does_not_come_back(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint("crash")
    restart(local_aws)
    assert endpoint.describe()["EndpointStatus"] == "Failed"
    assert endpoint.pids() == []
    [running] = local_aws.gateway._endpoints._endpoints.values()
    running.note("Deleting")
    restart(local_aws)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        endpoint.describe()


def test_nothing_is_left_of_what_was_made_and_deleted(local_aws: Any, endpoint: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    work = Path(local_aws.settings.work)

    def go_round() -> tuple[int, int, int, list[str]]:
        local_aws.client("iam").delete_role_policy(RoleName="config-model", PolicyName="inline")
        local_aws.client("iam").delete_role(RoleName="config-model")
        local_aws.create_endpoint_config("config", "good")
        sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
        local_aws.settled()
        endpoint.invoke()
        sagemaker.delete_endpoint(EndpointName="endpoint")
        local_aws.eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])
        sagemaker.delete_endpoint_config(EndpointConfigName="config")
        sagemaker.delete_model(ModelName="config")
        this = psutil.Process()
        instances = [one.name for one in threading.enumerate() if one.name.startswith(("instance-", "output-"))]
        files = list((work / "endpoints").iterdir())
        return this.num_fds(), len(this.children(recursive=True)), len(files), instances

    local_aws.create_role("config-model", local_aws.allow("s3:GetObject"))
    go_round()
    before = go_round()
    for _ in range(3):
        after = go_round()
    assert after[1:] == before[1:] == (0, 0, [])
    assert after[0] <= before[0]
    assert local_aws.gateway._endpoints._endpoints == {}
