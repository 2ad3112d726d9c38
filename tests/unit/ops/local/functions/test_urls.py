"""Function URLs: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html."""

from __future__ import annotations

import base64
import http.client
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ECHO = "def handler(event, context): return event"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"


@dataclass
class Reply:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Url:
    """The URL of the function of a test."""

    function: Any
    qualifier: dict[str, str] = field(default_factory=dict)
    address: str = ""

    def create(self, auth_type: str = "NONE", is_open: bool = True, **options: Any) -> Any:
        """Makes it; everybody may call it unless it is not open."""
        api = self.function.api
        made = api.create_function_url_config(FunctionName="function", AuthType=auth_type, **self.qualifier, **options)
        self.address = made["FunctionUrl"]
        if is_open:
            named = {"FunctionName": "function", "Principal": "*", **self.qualifier}
            api.add_permission(
                **named, StatementId="url", Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType=auth_type
            )
            api.add_permission(
                **named, StatementId="invoke", Action="lambda:InvokeFunction", InvokedViaFunctionUrl=True
            )
        return made

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        keys: dict[str, str] | None = None,
    ) -> Reply:
        """Sends a request, signed with keys where they are given."""
        where = urlsplit(self.address)
        sent = {"Host": where.netloc, **(headers or {})}
        if keys is not None:
            credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("SessionToken"))
            made = AWSRequest(method, f"{self.address.rstrip('/')}{path}", sent, body)
            SigV4Auth(credentials, "lambda", "us-east-1").add_auth(made)
            sent = dict(made.headers.items())
        connection = http.client.HTTPConnection("127.0.0.1", where.port or 80)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()


@pytest.fixture
def url(function: Any) -> Url:
    return Url(function)


@pytest.fixture
def echo(local_aws: Any, url: Url) -> Url:
    """A URL whose function answers with its event."""
    local_aws.create_function(ECHO)
    url.create()
    return url


def answering(result: str) -> str:
    return f"def handler(event, context): return {result}"


def test_a_request_becomes_an_event(echo: Url) -> None:
    reply = echo.request(
        "POST",
        "/dogs/b%20c?breed=beagle&breed=pug&empty=&size=a%26b",
        b'{"a": 1}',
        {"Content-Type": "application/json", "X-Two": "1", "Cookie": "a=1; b=2", "User-Agent": "tests"},
    )
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    event = reply.json
    domain = urlsplit(echo.address).hostname
    context = event.pop("requestContext")
    assert event.pop("headers").items() >= {"x-two": "1", "host": urlsplit(echo.address).netloc}.items()
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/dogs/b%20c",
        "rawQueryString": "breed=beagle&breed=pug&empty=&size=a%26b",
        "queryStringParameters": {"breed": "beagle,pug", "empty": "", "size": "a&b"},
        "cookies": ["a=1", "b=2"],
        "body": '{"a": 1}',
        "isBase64Encoded": False,
    }
    assert re.fullmatch(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000", context.pop("time"))
    assert isinstance(context.pop("timeEpoch"), int)
    assert context.pop("requestId") == reply.headers["x-amzn-requestid"]
    assert domain is not None
    assert context == {
        "accountId": "anonymous",
        "apiId": domain.split(".")[0],
        "domainName": domain,
        "domainPrefix": domain.split(".")[0],
        "http": {
            "method": "POST",
            "path": "/dogs/b%20c",
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": "tests",
        },
        "routeKey": "$default",
        "stage": "$default",
    }


def test_a_photo_arrives_in_base64(echo: Url) -> None:
    photo = bytes(range(256))
    event = echo.request("POST", body=photo, headers={"Content-Type": "image/jpeg"}).json
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == photo


def test_a_request_without_a_body_has_none(echo: Url) -> None:
    event = echo.request().json
    assert event.keys().isdisjoint({"body", "cookies", "queryStringParameters"})
    assert event["isBase64Encoded"] is False


def test_a_result_with_a_status_is_the_answer(local_aws: Any, url: Url) -> None:
    local_aws.create_function(
        answering("{'statusCode': 418, 'headers': {'X-Breed': 'pug', 'Content-Type': 'text/plain'}, "
                  "'cookies': ['a=1; Secure'], 'body': 'tea'}")
    )  # fmt: skip
    url.create()
    reply = url.request()
    assert (reply.status, reply.body) == (418, b"tea")
    assert (reply.headers["x-breed"], reply.headers["content-type"]) == ("pug", "text/plain")
    assert reply.headers["set-cookie"] == "a=1; Secure"


def test_a_binary_answer_is_decoded(local_aws: Any, url: Url) -> None:
    body = base64.b64encode(bytes(range(256))).decode()
    headers = {"Content-Type": "image/png"}
    result = {"statusCode": 200, "headers": headers, "body": body, "isBase64Encoded": True}
    local_aws.create_function(answering(repr(result)))
    url.create()
    assert url.request().body == bytes(range(256))


@pytest.mark.parametrize("result", ["'hello'", "{'a': 1}", "[1, 2]", "None"])
def test_a_result_without_a_status_is_the_body(local_aws: Any, url: Url, result: str) -> None:
    local_aws.create_function(answering(result))
    url.create()
    reply = url.request()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == eval(result)


@pytest.mark.parametrize("source", [answering("1 / 0"), answering("{'statusCode': 'x'}"), "import nothing_such"])
def test_a_function_that_fails_is_a_bad_gateway(local_aws: Any, url: Url, source: str) -> None:
    local_aws.create_function(source)
    url.create()
    reply = url.request()
    assert (reply.status, reply.body) == (502, b"Internal Server Error")


def test_a_function_cannot_disturb_the_connection(local_aws: Any, url: Url) -> None:
    headers = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "close", "X-Kept": "yes"}
    local_aws.create_function(answering(repr({"statusCode": 200, "headers": headers, "body": "whole"})))
    url.create()
    reply = url.request()
    assert reply.body == b"whole"
    assert (reply.headers["content-length"], reply.headers["x-kept"]) == ("5", "yes")


def test_a_url_that_is_open_needs_the_functions_permission(local_aws: Any, url: Url) -> None:
    local_aws.create_function(ECHO)
    url.create(is_open=False)
    reply = url.request()
    assert reply.status == 403
    assert reply.json["Message"].startswith("Forbidden.")
    assert url.function.environments() == (0, 0)


def test_a_url_for_iam_takes_signed_requests_of_those_who_may(local_aws: Any, url: Url) -> None:
    local_aws.create_function(ECHO)
    url.create("AWS_IAM", is_open=False)
    allowed = local_aws.assume(
        local_aws.create_role("caller", local_aws.allow(["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"], ARN))
    )
    denied = local_aws.assume(local_aws.create_role("other", local_aws.allow("s3:*")))
    assert url.request().status == 403
    assert url.request(keys=denied).status == 403
    assert url.request(keys={**allowed, "SecretAccessKey": "wrong"}).status == 403
    assert url.function.environments() == (0, 0)
    headers = {"Content-Type": "image/jpeg"}
    reply = url.request("POST", "/a?b=c%20d&e=", b"photo\xff", headers, keys=allowed)
    assert reply.status == 200
    context = reply.json["requestContext"]
    assert context["accountId"] == "123456789012"
    assert context["authorizer"]["iam"]["userArn"] == "arn:aws:sts::123456789012:assumed-role/caller/test"
    assert context["authorizer"]["iam"]["accessKey"] == allowed["AccessKeyId"]
    assert reply.json["headers"].keys().isdisjoint({"authorization", "x-amz-security-token"})
    assert url.request("POST", "/", b"other", keys={"AccessKeyId": "test", "SecretAccessKey": "test"}).status == 200


def test_a_url_whose_function_has_no_room_answers_429(local_aws: Any, url: Url, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    local_aws.create_function(
        f"import os, time\ndef handler(event, context):\n    while not os.path.exists({str(gate)!r}): time.sleep(0.01)",
        Timeout=60,
    )
    url.create()
    function = url.function
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=1)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(url.request)
        local_aws.eventually(lambda: function.environments() == (1, 1))
        reply = url.request()
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        gate.touch()
        assert call.result().status == 200


def test_a_request_that_is_too_large_is_refused(echo: Url) -> None:
    assert echo.request("POST", body=b"x" * 5_000_000).status == 413  # in base64 it exceeds 6 MB
    assert echo.request("POST", body=b"x" * 5_000_000, headers={"Content-Type": "text/plain"}).status == 200


CORS = {
    "AllowOrigins": ["https://dogs.example"],
    "AllowMethods": ["GET", "POST"],
    "AllowHeaders": ["x-breed"],
    "ExposeHeaders": ["x-score"],
    "MaxAge": 60,
    "AllowCredentials": True,
}
ASKING = {"Origin": "https://dogs.example", "Access-Control-Request-Method": "POST"}


def cross_origin(reply: Reply) -> dict[str, str]:
    """The headers by which a browser decides."""
    return {
        name.removeprefix("access-control-"): value
        for name, value in reply.headers.items()
        if name.startswith("access-control-")
    }


def test_a_browser_that_asks_is_answered_without_the_function(local_aws: Any, url: Url) -> None:
    local_aws.create_function(ECHO)
    url.create(Cors=CORS)
    reply = url.request("OPTIONS", headers=ASKING)
    assert (reply.status, reply.body) == (200, b"")
    assert cross_origin(reply) == {
        "allow-origin": "https://dogs.example",
        "allow-methods": "GET,POST",
        "allow-headers": "x-breed",
        "allow-credentials": "true",
        "expose-headers": "x-score",
        "max-age": "60",
    }
    assert cross_origin(url.request("OPTIONS", headers={**ASKING, "Origin": "https://cats.example"})) == {}
    assert url.function.environments() == (0, 0)


def test_pages_of_allowed_origins_may_read_answers(local_aws: Any, url: Url) -> None:
    local_aws.create_function(answering("{'statusCode': 200, 'headers': {'Access-Control-Allow-Origin': '*'}}"))
    url.create(Cors=CORS)
    assert cross_origin(url.request(headers={"Origin": "https://dogs.example"})) == {
        "allow-origin": "https://dogs.example",
        "allow-credentials": "true",
        "expose-headers": "x-score",
    }
    assert cross_origin(url.request(headers={"Origin": "https://cats.example"})) == {}
    url.function.api.update_function_url_config(FunctionName="function", Cors={"AllowOrigins": ["*"]})
    assert cross_origin(url.request(headers={"Origin": "https://cats.example"})) == {
        "allow-origin": "https://cats.example"
    }


def test_without_settings_for_it_the_function_answers_browsers_itself(local_aws: Any, url: Url) -> None:
    local_aws.create_function(answering("{'statusCode': 204, 'headers': {'Access-Control-Allow-Origin': '*'}}"))
    url.create()
    reply = url.request("OPTIONS", headers=ASKING)
    assert (reply.status, cross_origin(reply)) == (204, {"allow-origin": "*"})


@pytest.mark.parametrize(
    "host", ["a" * 32 + ".lambda-url.us-east-1.localhost", "a" * 32 + ".lambda-url.nowhere.localhost"]
)
def test_a_url_that_nobody_has_made_is_forbidden(echo: Url, host: str) -> None:
    reply = echo.request(headers={"Host": host})
    assert (reply.status, reply.json) == (403, {"Message": "Forbidden"})


def test_an_alias_has_a_url_of_its_own(local_aws: Any, function: Any) -> None:
    local_aws.create_function(answering("context.invoked_function_arn"), Publish=True)
    function.api.create_alias(FunctionName="function", Name="live", FunctionVersion="1")
    urls = Url(function), Url(function, {"Qualifier": "live"})
    for url in urls:
        url.create()
    assert [url.request().json for url in urls] == [ARN, f"{ARN}:live"]
    listed = function.api.list_function_url_configs(FunctionName="function")["FunctionUrlConfigs"]
    assert [one["FunctionArn"] for one in listed] == [ARN, f"{ARN}:live"]
    function.api.delete_alias(FunctionName="function", Name="live")
    assert urls[1].request().status == 403
    refused = function.refused(Url(function, {"Qualifier": "1"}).create)
    assert refused["Error"]["Code"] == "ValidationException"


def test_a_url_is_told_changed_and_removed(local_aws: Any, url: Url) -> None:
    local_aws.create_function(ECHO)
    made = url.create("AWS_IAM", is_open=False)
    assert re.fullmatch(r"http://[a-z0-9]{32}\.lambda-url\.us-east-1\.localhost:\d+/", made["FunctionUrl"])
    api, named = url.function.api, {"FunctionName": "function"}
    told = api.get_function_url_config(**named)
    assert (told["AuthType"], told["FunctionArn"], told["InvokeMode"]) == ("AWS_IAM", ARN, "BUFFERED")
    again = url.function.refused(api.create_function_url_config, **named, AuthType="NONE")
    assert again["Error"]["Code"] == "ResourceConflictException"
    changed = api.update_function_url_config(**named, AuthType="NONE", Cors=CORS)
    assert (changed["AuthType"], changed["Cors"]) == ("NONE", CORS)
    assert changed["FunctionUrl"] == made["FunctionUrl"]
    api.delete_function_url_config(**named)
    assert url.request().status == 403
    assert url.function.refused(api.get_function_url_config, **named)["Error"]["Code"] == "ResourceNotFoundException"
    url.create()
    api.delete_function(**named)
    assert url.request().status == 403
