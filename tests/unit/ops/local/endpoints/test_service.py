from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock


def invoke(local_aws: Any, body: bytes = b"photo", name: str = "endpoint", **options: Any) -> dict[str, Any]:
    """What the container has seen."""
    answer = local_aws.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **options)
    seen: dict[str, Any] = json.loads(answer["Body"].read())
    return seen


def instances(local_aws: Any) -> list[int]:
    return [instance["pid"] for one in local_aws.gateway.status()["endpoints"] for instance in one["instances"]]


def test_an_endpoint_is_in_service_once_its_container_answers(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "healthy after 1")
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    assert sagemaker.describe_endpoint(EndpointName="endpoint")["EndpointStatus"] == "Creating"
    with pytest.raises(ClientError, match="Endpoint endpoint of account 123456789012 not found"):
        invoke(local_aws)
    described = local_aws.settled()
    assert described["EndpointStatus"] == "InService"
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert invoke(local_aws)["model"] == "healthy after 1"


def test_the_container_sees_what_the_caller_sends(local_aws: Any) -> None:
    local_aws.create_endpoint()
    answer = local_aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="endpoint",
        Body=b"\xff\xd8photo",
        ContentType="image/jpeg",
        Accept="application/json",
        CustomAttributes="top_k=3",
    )
    seen = json.loads(answer["Body"].read())
    assert seen["bytes"] == 7
    assert (seen["content_type"], seen["accept"], seen["custom_attributes"]) == (
        "image/jpeg", "application/json", "top_k=3",
    )  # fmt: skip
    assert seen["environment"]["COLOUR"] == "grey"
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("application/json", "seen=yes")
    assert answer["InvokedProductionVariant"] == "main"
    assert answer["ResponseMetadata"]["RequestId"]


def test_calls_are_spread_over_the_instances(local_aws: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=3)
    counts = Counter(invoke(local_aws)["pid"] for _ in range(12))
    assert counts == dict.fromkeys(instances(local_aws), 4)


def test_calls_are_spread_by_lot_where_the_variant_wants_that(local_aws: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2, RoutingConfig={"RoutingStrategy": "RANDOM"})
    called = [invoke(local_aws)["pid"] for _ in range(20)]
    assert set(called) == set(instances(local_aws))
    assert any(one == following for one, following in pairwise(called)), "they were asked in turn"


def test_a_busy_instance_gets_nothing_while_another_is_free(local_aws: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(invoke, local_aws, b"sleep 1.5")
        [endpoint] = local_aws.gateway._endpoints._endpoints.values()
        [fleet] = endpoint.fleets
        local_aws.eventually(lambda: any(one.load.outstanding for one in fleet.instances()))
        others = {invoke(local_aws)["pid"] for _ in range(5)}
        assert others == set(instances(local_aws)) - {busy.result()["pid"]}


def test_a_variant_can_be_named(local_aws: Any) -> None:
    local_aws.create_endpoint()
    assert invoke(local_aws, TargetVariant="main")["model"] == "good"
    with pytest.raises(ClientError, match="Variant other of endpoint endpoint not found"):
        invoke(local_aws, TargetVariant="other")


def test_what_the_container_refuses_is_a_model_error(local_aws: Any) -> None:
    local_aws.create_endpoint()
    runtime = local_aws.client("sagemaker-runtime")
    for status, kind in ((415, "client"), (500, "server")):
        with pytest.raises(runtime.exceptions.ModelError) as failed:
            invoke(local_aws, b"fail %d" % status)
        error = failed.value.response
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (status, "the model says no")
        assert error["Error"]["Message"].startswith(f"Received {kind} error ({status}) from primary with message ")
        assert error["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/endpoint")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"sleep 20",
            "Your invocation timed out while waiting for a response from container primary. Review the latency metrics "
            "for each container in Amazon CloudWatch, resolve the issue, and try again.",
        ),
        (b"die", "Amazon SageMaker could not get a response from the endpoint endpoint."),
        (b"flood", "The answer exceeds 6291456 bytes."),
    ],
)
def test_a_container_that_gives_no_good_answer_is_a_model_error(local_aws: Any, body: bytes, message: str) -> None:
    local_aws.create_endpoint()
    with pytest.raises(local_aws.client("sagemaker-runtime").exceptions.ModelError) as failed:
        invoke(local_aws, body)
    assert failed.value.response["OriginalStatusCode"] == 0
    assert failed.value.response["OriginalMessage"] == message


def test_other_ways_to_invoke_are_clearly_not_there(local_aws: Any) -> None:
    local_aws.create_endpoint()
    runtime = local_aws.client("sagemaker-runtime")
    for call in (
        lambda: runtime.invoke_endpoint_async(EndpointName="endpoint", InputLocation="s3://bucket/key"),
        lambda: runtime.invoke_endpoint_with_response_stream(EndpointName="endpoint", Body=b"photo"),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_an_endpoint_that_does_not_exist_is_a_validation_error(local_aws: Any) -> None:
    with pytest.raises(ClientError) as missing:
        invoke(local_aws, name="nothing")
    assert missing.value.response["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint nothing of account 123456789012 not found.",
    }
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_body_beyond_the_limit_is_refused(local_aws: Any) -> None:
    local_aws.create_endpoint()
    assert invoke(local_aws, b"x" * 6_291_456)["bytes"] == 6_291_456
    with pytest.raises(ClientError) as refused:
        invoke(local_aws, b"x" * 6_291_457)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert refused.value.response["Error"] == {
        "Code": "413",
        "Message": "HTTP content length exceeded 6291456 bytes.",
    }


def test_an_endpoint_whose_container_ends_has_failed_and_says_why(local_aws: Any) -> None:
    described = local_aws.create_endpoint("crash")
    assert described["EndpointStatus"] == "Failed"
    assert "exit code 1" in described["FailureReason"]
    assert described["FailureReason"].endswith("loading the model\nthe weights are broken")
    assert "the weights are broken" in local_aws.logged("/aws/sagemaker/Endpoints/endpoint")
    assert instances(local_aws) == []


def test_the_log_follows_the_clock(local_aws: Any, fast_clock: Clock) -> None:
    fast_clock.speed = 6000.0
    ahead = fast_clock.time() + 600
    local_aws.eventually(lambda: fast_clock.time() > ahead)
    fast_clock.speed = 1.0
    local_aws.create_endpoint()
    [event, *_] = local_aws.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/endpoint")["events"]
    assert event["timestamp"] >= ahead * 1000


def test_a_model_that_the_role_may_not_read_fails_the_endpoint(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    local_aws.client("iam").delete_role_policy(RoleName="config-model", PolicyName="inline")
    local_aws.client("sagemaker").create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    described = local_aws.settled()
    assert described["EndpointStatus"] == "Failed"
    assert "s3://models/config/model.tar.gz" in described["FailureReason"]


def test_a_model_that_is_not_there_fails_the_endpoint(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    local_aws.client("s3").delete_object(Bucket="models", Key="config/model.tar.gz")
    local_aws.client("sagemaker").create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    assert local_aws.settled()["EndpointStatus"] == "Failed"


def test_an_endpoint_that_local_aws_cannot_start_has_failed_and_can_be_deleted(local_aws: Any) -> None:
    folder = Path(local_aws.settings.work) / "endpoints"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")
    try:
        described = local_aws.create_endpoint()
    finally:
        folder.unlink()
    assert (described["EndpointStatus"], described["FailureReason"]) == (
        "Failed",
        "Local AWS failed: its log says why.",
    )
    sagemaker = local_aws.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName="endpoint")
    local_aws.eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])


def test_a_name_can_be_used_once(local_aws: Any) -> None:
    local_aws.create_endpoint()
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        local_aws.client("sagemaker").create_endpoint(EndpointName="endpoint", EndpointConfigName="endpoint-config")


def test_an_endpoint_that_failed_can_only_be_deleted(local_aws: Any) -> None:
    local_aws.create_endpoint("crash")
    sagemaker = local_aws.client("sagemaker")
    with pytest.raises(ClientError, match="in status Failed"):
        sagemaker.update_endpoint(EndpointName="endpoint", EndpointConfigName="endpoint-config")
    sagemaker.delete_endpoint(EndpointName="endpoint")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="endpoint", WaiterConfig={"Delay": 0})


def test_an_endpoint_under_change_can_be_neither_changed_nor_deleted(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "never healthy")
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.update_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="endpoint")


@pytest.mark.parametrize("operation", ["update_endpoint", "delete_endpoint", "describe_endpoint"])
def test_an_endpoint_that_is_not_there(local_aws: Any, operation: str) -> None:
    config = {"EndpointConfigName": "config"} if operation == "update_endpoint" else {}
    with pytest.raises(ClientError, match="Could not find endpoint"):
        getattr(local_aws.client("sagemaker"), operation)(EndpointName="nothing", **config)


def test_deleting_an_endpoint_ends_its_instances(local_aws: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)
    pids = instances(local_aws)
    sagemaker = local_aws.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName="endpoint")
    local_aws.eventually(lambda: sagemaker.list_endpoints()["Endpoints"] == [])
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_reset_while_an_endpoint_starts_leaves_no_process(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "never healthy")
    local_aws.client("sagemaker").create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    [pid] = local_aws.eventually(lambda: instances(local_aws))
    local_aws.gateway.reset()
    assert not psutil.pid_exists(pid)
    assert local_aws.gateway.status()["endpoints"] == []


def variant(**more: Any) -> dict[str, Any]:
    return {
        "VariantName": "main",
        "ModelName": "config",
        "InstanceType": "ml.c6i.large",
        "InitialInstanceCount": 1,
    } | more


def test_an_endpoint_tells_all_of_its_variants(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    sagemaker = local_aws.client("sagemaker")
    routing, scaling = (
        {"RoutingStrategy": "RANDOM"},
        {"Status": "ENABLED", "MinInstanceCount": 1, "MaxInstanceCount": 2},
    )
    metrics = {"EnableEnhancedMetrics": True, "MetricPublishFrequencyInSeconds": 10}
    sagemaker.create_endpoint_config(
        EndpointConfigName="full",
        ProductionVariants=[variant(RoutingConfig=routing, ManagedInstanceScaling=scaling)],
        ShadowProductionVariants=[variant(VariantName="shadow")],
        MetricsConfig=metrics,
    )
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="full")
    described = local_aws.settled()
    [told] = described["ProductionVariants"]
    [image] = told.pop("DeployedImages")
    assert image["SpecifiedImage"] == "image"
    assert image["ResolvedImage"].startswith("image@sha256:")
    assert told == {
        "VariantName": "main",
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 1,
        "RoutingConfig": routing,
        "ManagedInstanceScaling": scaling,
    }
    assert described["ShadowProductionVariants"][0]["VariantName"] == "shadow"
    assert described["MetricsConfig"] == metrics
    assert sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"][0]["EndpointName"] == "endpoint"


def test_a_serverless_endpoint_is_served_by_one_process(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_endpoint_config(
        EndpointConfigName="serverless",
        ProductionVariants=[{"VariantName": "main", "ModelName": "config", "ServerlessConfig": serverless}],
    )
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="serverless")
    [told] = local_aws.settled()["ProductionVariants"]
    assert told["CurrentServerlessConfig"] == serverless
    assert "CurrentInstanceCount" not in told
    assert invoke(local_aws)["model"] == "good"
    assert len(instances(local_aws)) == 1


def test_a_configuration_is_told_as_it_was_made(local_aws: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    sagemaker = local_aws.client("sagemaker")
    told = sagemaker.describe_endpoint_config(EndpointConfigName="config")
    assert told["ProductionVariants"] == [variant(InitialVariantWeight=1.0)]
    assert "DataCaptureConfig" not in told
    parameters: dict[str, Any] = {
        "ProductionVariants": [variant(InitialVariantWeight=2.0, ContainerStartupHealthCheckTimeoutInSeconds=60)],
        "DataCaptureConfig": {
            "EnableCapture": False,
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": "s3://data/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
        "AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://data/answers"}},
        "ExecutionRoleArn": "arn:aws:iam::123456789012:role/config-model",
        "KmsKeyId": "key",
        "MetricsConfig": {"EnableEnhancedMetrics": False},
    }
    sagemaker.create_endpoint_config(EndpointConfigName="full", **parameters)
    told = sagemaker.describe_endpoint_config(EndpointConfigName="full")
    assert {name: told[name] for name in parameters} == parameters


@pytest.mark.parametrize(
    ("name", "names", "message"),
    [
        ("config", ["main"], "Cannot create already existing endpoint configuration"),
        ("other", ["main", "main"], "must be unique"),
    ],
)
def test_a_configuration_that_aws_would_refuse_is_refused(
    local_aws: Any, name: str, names: list[str], message: str
) -> None:
    local_aws.create_endpoint_config("config", "good")
    with pytest.raises(ClientError, match=message):
        local_aws.client("sagemaker").create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant(VariantName=one) for one in names]
        )


def test_a_configuration_of_models_that_are_not_there_is_refused(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    without = {name: value for name, value in variant().items() if name != "ModelName"}
    for one, message in ((variant(ModelName="nothing"), "Could not find model"), (without, "needs a ModelName")):
        with pytest.raises(ClientError, match=message):
            sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[one])


def test_a_configuration_that_is_not_there(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    for call in (
        lambda: sagemaker.describe_endpoint_config(EndpointConfigName="nothing"),
        lambda: sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="nothing"),
    ):
        with pytest.raises(ClientError, match="Could not find endpoint configuration"):
            call()
    assert sagemaker.list_endpoints()["Endpoints"] == []
