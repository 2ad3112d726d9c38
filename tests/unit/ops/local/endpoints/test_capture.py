from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from whippet.local.clock import Clock
from whippet.local.endpoints.capture import Payload, event

BOTH = [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
KEY = re.compile(
    r"captured/endpoint/main/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.jsonl"
)


def config(**more: Any) -> dict[str, Any]:
    return {"InitialSamplingPercentage": 100, "DestinationS3Uri": "s3://data/captured", "CaptureOptions": BOTH} | more


def make(configuration: dict[str, Any], request: Payload, answer: Payload, **metadata: Any) -> dict[str, Any]:
    return event(configuration, request, answer, datetime(2026, 2, 14, 17, 25, 49, 300_000, UTC), metadata)


def test_an_event_is_as_aws_writes_it() -> None:
    made = make(
        config(CaptureContentTypeHeader=TYPES),
        Payload("text/csv", b"1,2\n"),
        Payload("application/json; charset=utf-8", b'{"a": 1}'),
        inferenceId="mine",
        customAttributes=None,
    )
    identifier = made["eventMetadata"].pop("eventId")
    assert re.fullmatch(r"[0-9a-f-]{36}", identifier)
    assert made == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "application/json; charset=utf-8",
                "mode": "OUTPUT",
                "data": '{"a": 1}',
                "encoding": "JSON",
            },
        },
        "eventMetadata": {"inferenceId": "mine", "inferenceTime": "2026-02-14T17:25:49Z"},
        "eventVersion": "0",
    }


def test_what_is_neither_csv_nor_json_is_base64() -> None:
    made = make(config(), Payload("application/json", b"{}"), Payload("image/jpeg", b"\xff\xd8"))
    assert made["captureData"]["endpointInput"]["encoding"] == "BASE64"
    captured = made["captureData"]["endpointOutput"]
    assert (captured["encoding"], base64.b64decode(captured["data"])) == ("BASE64", b"\xff\xd8")


@pytest.mark.parametrize(
    ("mode", "captured"),
    [
        ("Input", {"endpointInput"}),
        ("Output", {"endpointOutput"}),
        ("InputAndOutput", {"endpointInput", "endpointOutput"}),
    ],
)
def test_only_what_is_asked_for_is_captured(mode: str, captured: set[str]) -> None:
    made = make(config(CaptureOptions=[{"CaptureMode": mode}]), Payload("a/b", b""), Payload("a/b", b""))
    assert made["captureData"].keys() == captured


def create(local_aws: Any, capture: dict[str, Any], *, may_write: bool = True, name: str = "capturing") -> None:
    """An endpoint that captures."""
    local_aws.client("s3").create_bucket(Bucket="data")
    local_aws.create_endpoint_config(name, "good")
    if may_write:
        local_aws.create_role(f"{name}-writer", local_aws.allow("s3:PutObject"))
        policy = {"Version": "2012-10-17", "Statement": [local_aws.allow("s3:PutObject", "arn:aws:s3:::data/*")]}
        local_aws.client("iam").put_role_policy(
            RoleName=f"{name}-model", PolicyName="write", PolicyDocument=json.dumps(policy)
        )
    variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-all", ProductionVariants=[variant], DataCaptureConfig=capture
    )
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName=f"{name}-all")
    local_aws.settled()


def captured(local_aws: Any) -> dict[str, list[dict[str, Any]]]:
    """The events in the bucket, by key."""
    s3 = local_aws.client("s3")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="data").get("Contents", [])]
    bodies = {key: s3.get_object(Bucket="data", Key=key)["Body"].read() for key in keys}
    return {key: [json.loads(line) for line in body.splitlines()] for key, body in bodies.items()}


def test_invocations_are_written_to_s3_in_the_background(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    create(local_aws, config(CaptureContentTypeHeader=TYPES, KmsKeyId="key"))
    for number in range(3):
        endpoint.invoke(
            b"%d" % number, ContentType="text/csv", InferenceId=f"call-{number}", CustomAttributes="trace=7"
        )
    local_aws.eventually(lambda: sum(len(events) for events in captured(local_aws).values()) == 3)
    found = captured(local_aws)
    assert all(KEY.fullmatch(key) for key in found)
    events = [one for key in sorted(found) for one in found[key]]
    assert [one["captureData"]["endpointInput"]["data"] for one in events] == ["0", "1", "2"]
    assert [one["eventMetadata"]["inferenceId"] for one in events] == ["call-0", "call-1", "call-2"]
    assert events[0]["eventMetadata"]["customAttributes"] == ["trace=7"]
    assert json.loads(events[0]["captureData"]["endpointOutput"]["data"])["inference_id"] == "call-0"
    told = local_aws.client("s3").head_object(Bucket="data", Key=next(iter(found)))
    assert (told["ServerSideEncryption"], told["SSEKMSKeyId"]) == ("aws:kms", "key")
    assert endpoint.describe()["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": "s3://data/captured",
        "KmsKeyId": "key",
    }


def test_what_is_left_is_written_when_local_aws_stops(local_aws: Any, endpoint: Any) -> None:
    create(local_aws, config())
    endpoint.invoke()
    assert captured(local_aws) == {}
    local_aws.gateway._endpoints.stop()
    assert len(captured(local_aws)) == 1
    local_aws.gateway._endpoints.resume()


def test_nothing_is_written_that_the_role_may_not_write(local_aws: Any, endpoint: Any) -> None:
    create(local_aws, config(), may_write=False)
    endpoint.invoke()
    local_aws.gateway._endpoints.stop()
    assert captured(local_aws) == {}
    local_aws.gateway._endpoints.resume()


@pytest.mark.parametrize("capture", [config(EnableCapture=False), config(InitialSamplingPercentage=0)])
def test_nothing_is_captured_that_shall_not_be(local_aws: Any, endpoint: Any, capture: dict[str, Any]) -> None:
    create(local_aws, capture)
    for _ in range(5):
        endpoint.invoke()
    told = endpoint.describe()["DataCaptureConfig"]
    assert told["CaptureStatus"] == ("Started" if capture.get("EnableCapture", True) else "Stopped")
    local_aws.gateway._endpoints.stop()
    assert captured(local_aws) == {}
    local_aws.gateway._endpoints.resume()


def test_an_update_begins_or_ends_the_capture_unless_it_is_retained(local_aws: Any, endpoint: Any) -> None:
    create(local_aws, config())
    local_aws.create_endpoint_config("plain", "good")
    endpoint.update("plain", RetainAllVariantProperties=True)
    assert local_aws.settled()["DataCaptureConfig"]["CaptureStatus"] == "Started"
    endpoint.update("plain")
    assert "DataCaptureConfig" not in local_aws.settled()
