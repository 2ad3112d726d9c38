from __future__ import annotations

import gc
import http.client
import io
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import psutil
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError


def post(url: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post_signed(local_aws: Any, service: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """What a client is told that signs whatever it sends."""
    url = f"{local_aws.settings.url}/"
    request = AWSRequest("POST", url, headers={"Content-Type": "application/x-amz-json-1.1", **headers}, data=body)
    SigV4Auth(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    return post(url, body, **dict(request.headers.items()))


def test_a_call_that_is_not_signed_is_refused(local_aws: Any) -> None:
    status, body = post(f"{local_aws.settings.url}/endpoints/endpoint/invocations", b"photo")
    assert status == 403
    assert json.loads(body)["__type"] == "MissingAuthenticationTokenException"


def test_what_moto_does_not_implement_fails_at_once_and_for_good(local_aws: Any) -> None:
    with pytest.raises(ClientError) as refused:
        local_aws.client("sagemaker").create_inference_component(
            InferenceComponentName="c", EndpointName="e", RuntimeConfig={"CopyCount": 1}
        )
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501  # which no SDK tries again
    assert refused.value.response["Error"] == {
        "Code": "NotImplemented",
        "Message": "Local AWS does not implement sagemaker:CreateInferenceComponent.",
    }


@pytest.mark.parametrize(
    ("service", "target", "body"),
    [
        ("sagemaker", "SageMaker.CreateModel", b"{"),
        ("sagemaker", "SageMaker.CreateModel", b"3"),
        ("sagemaker", "SageMaker.CreateModel", b"\xff"),
        ("sagemaker", "SageMaker.CreateModel", b"[" * 100_000),
        ("sagemaker", "SageMaker.CreateModel", b'{"ModelName":' * 3000 + b"1" + b"}" * 3000),
        ("sagemaker", "SageMaker.CreateModel", b'{"ModelName": ' + b"1" * 5000 + b"}"),
        ("sagemaker", "SageMaker.ListModels", b'{"CreationTimeAfter": 1e300}'),
        ("sagemaker", "SageMaker.ListTrainingJobs", b'{"CreationTimeAfter": Infinity}'),
        ("logs", "Logs_20140328.DescribeLogGroups", b"{"),
    ],
)
def test_a_request_that_cannot_be_read_is_the_callers_fault(
    local_aws: Any, service: str, target: str, body: bytes
) -> None:
    status, answer = post_signed(local_aws, service, body, **{"X-Amz-Target": target})
    assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


def test_a_path_that_moto_does_not_know_is_not_implemented(local_aws: Any) -> None:
    with pytest.raises(ClientError) as refused:
        local_aws.client("lambda").invoke_with_response_stream(FunctionName="function", Payload=b"{}")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert refused.value.response["Error"]["Message"] == "Local AWS does not implement lambda:InvokeWithResponseStream."


def test_a_service_that_nobody_knows_is_not_implemented(local_aws: Any) -> None:
    status, answer = post_signed(local_aws, "nosuch", b"{}")
    assert (status, json.loads(answer)["__type"]) == (501, "NotImplemented")


@pytest.mark.parametrize("path", ["moto-api/data.json", "moto-api/reset", "moto-api"])
def test_what_moto_shows_and_empties_is_out_of_reach_of_whom_all_buckets_are_open(local_aws: Any, path: str) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    role = local_aws.create_role("reader", local_aws.allow("s3:*"))
    keys = local_aws.assume(role)
    credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    for method in ("GET", "POST"):
        request = AWSRequest(method, f"{local_aws.settings.url}/{path}")
        S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
        asked = urllib.request.Request(request.url, None, dict(request.headers.items()), method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked)
        assert refused.value.code == 501
    assert [one["Name"] for one in local_aws.client("s3").list_buckets()["Buckets"]] == ["photos"]


def test_services_are_found_by_the_name_they_sign_with(local_aws: Any) -> None:
    role = local_aws.create_role("reader", local_aws.allow(["states:ListStateMachines", "tag:GetResources"]))
    session = local_aws.assume(role)
    assert local_aws.client("stepfunctions", session).list_state_machines()["stateMachines"] == []
    assert "ResourceTagMappingList" in local_aws.client("resourcegroupstaggingapi", session).get_resources()
    assert local_aws.client("ses").list_identities()["Identities"] == []


def test_everything_else_is_motos(local_aws: Any) -> None:
    queue = local_aws.client("sqs").create_queue(QueueName="queue")["QueueUrl"]
    local_aws.client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
    assert local_aws.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"


def test_a_connection_is_kept_for_the_next_call(local_aws: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local_aws.settings.port)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for method, path in (
        ("GET", "/_whippet/status"),
        ("POST", "/unsigned"),
        ("HEAD", "/"),
        ("GET", "/_whippet/status"),
    ):
        connection.request(method, path, body=b"x" * 100_000 if method == "POST" else None)
        connection.getresponse().read()
        assert connection.sock is not None, f"closed after {method} {path}"
        assert connection.sock.getsockname()[1] == port
    connection.close()


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(local_aws: Any) -> None:
    with socket.create_connection(("127.0.0.1", local_aws.settings.port)) as connection:
        head = b"PUT /photos/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        connection.settimeout(20)
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x")
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")


def test_large_objects_go_in_and_out_whole(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    body = bytes(range(256)) * 40_000
    s3.put_object(Bucket="photos", Key="big", Body=body)
    assert s3.get_object(Bucket="photos", Key="big")["Body"].read() == body
    assert s3.head_object(Bucket="photos", Key="big")["ContentLength"] == len(body)


def test_a_body_takes_no_memory_once_it_is_answered(local_aws: Any) -> None:
    local_aws.create_endpoint()
    local_aws.client("s3").create_bucket(Bucket="photos")
    body = b"photo" + bytes(1_234_567)

    def kept() -> int:
        found = [one for one in gc.get_objects() if isinstance(one, io.BytesIO) and not one.closed]
        return sum(one.getbuffer().nbytes == len(body) for one in found)

    gc.disable()  # it may not run for a thousand calls
    try:
        local_aws.client("s3").put_object(Bucket="photos", Key="a.jpg", Body=body)
        local_aws.client("sagemaker-runtime").invoke_endpoint(EndpointName="endpoint", Body=body)
        local_aws.eventually(lambda: kept() == 0)
    finally:
        gc.enable()


def test_the_status_names_what_runs(local_aws: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)
    local_aws.create_function("def handler(event, context): return 1")
    client = local_aws.client("lambda")
    client.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=5)
    client.invoke(FunctionName="function")
    with urllib.request.urlopen(f"{local_aws.settings.url}/_whippet/status") as answer:
        status = json.load(answer)
    [endpoint] = status["endpoints"]
    assert (endpoint["name"], endpoint["status"]) == ("endpoint", "InService")
    assert all(psutil.pid_exists(instance["pid"]) for instance in endpoint["instances"])
    assert status["functions"] == [{"name": "function", "environments": 1, "busy": 0, "reserved": 5}]
    assert (status["account"], status["region"]) == ("123456789012", "us-east-1")


def test_a_reset_leaves_nothing(local_aws: Any) -> None:
    local_aws.create_endpoint()
    local_aws.create_function("def handler(event, context): return 1")
    local_aws.client("lambda").invoke(FunctionName="function")
    before = local_aws.gateway.status()["id"]
    children = psutil.Process().children(recursive=True)
    assert len(children) >= 2
    status, _ = post(f"{local_aws.settings.url}/_whippet/reset", **{"X-Whippet-Control": "yes"})
    assert status == 200
    after = local_aws.gateway.status()
    assert (after["endpoints"], after["functions"]) == ([], [])
    assert after["id"] != before
    assert local_aws.client("s3").list_buckets()["Buckets"] == []
    assert local_aws.client("iam").list_roles()["Roles"] == []
    assert not any(child.is_running() for child in children)
    # and what comes next works
    local_aws.create_endpoint()
    local_aws.create_function("def handler(event, context): return 1")


def test_the_clock_can_be_made_to_run_faster(local_aws: Any) -> None:
    path = f"{local_aws.settings.url}/_whippet/speed"
    control = {"X-Whippet-Control": "yes"}
    try:
        status, answer = post(f"{path}?speed=60", **control)
        assert (status, json.loads(answer)["speed"]) == (200, 60.0)
        for query in ("", "?speed=", "?speed=fast", "?speed=0", "?speed=inf", "?speed=nan"):
            status, answer = post(f"{path}{query}", **control)
            assert (status, json.loads(answer)["__type"]) == (400, "ValidationException"), query
        assert local_aws.gateway.clock.speed == 60.0
        assert post(f"{path}?speed=1")[0] == 403  # without the header
        assert local_aws.gateway.clock.speed == 60.0
    finally:
        local_aws.gateway.clock.speed = 1.0


def test_a_web_page_cannot_reset(local_aws: Any) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    post(f"{local_aws.settings.url}/_whippet/reset")
    assert len(local_aws.client("s3").list_buckets()["Buckets"]) == 1
