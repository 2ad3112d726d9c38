from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


def ask(local_aws: Any, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
    """What is told whoever sends these headers, `Host` included."""
    connection = http.client.HTTPConnection("127.0.0.1", local_aws.settings.port)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def presigned(local_aws: Any, method: str, path: str, service: str, host: str = "127.0.0.1", body: bytes = b"") -> str:
    """The path of a request that the administrator has signed, as any page can: nobody keeps their secret a secret."""
    url = f"http://{host}:{local_aws.settings.port}{path}"
    request = AWSRequest(method, url, data=body)
    SigV4QueryAuth(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    return request.url.partition(str(local_aws.settings.port))[2]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a sandboxed frame, or a file
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://127.0.0.1.evil.example:4566"},
        {"Origin": "https://evil.example", "Referer": "http://localhost/"},
        CROSS_SITE,
        {**CROSS_SITE, "Referer": "https://evil.example/"},
        {"Host": "evil.example:4566"},
        {"Host": "evil.example:4566", "Origin": "http://evil.example:4566"},
        {"Host": "192.0.2.1"},
    ],
)
def test_a_page_from_elsewhere_is_refused_whatever_it_asks_for(local_aws: Any, headers: dict[str, str]) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    host = headers.get("Host", "127.0.0.1").partition(":")[0]
    user = presigned(local_aws, "GET", "/?Action=CreateUser&Version=2010-05-08&UserName=evil", "iam", host)
    function = json.dumps({"FunctionName": "evil"}).encode()
    control = {"X-Whippet-Control": "yes"}
    for method, path, more, body in (
        ("GET", "/_whippet/status", {}, b""),
        ("POST", "/_whippet/reset", control, b""),
        ("POST", "/_whippet/speed?speed=60", control, b""),
        ("OPTIONS", "/_whippet/reset", {"Access-Control-Request-Headers": "x-whippet-control"}, b""),
        ("GET", user, {}, b""),
        (
            "POST",
            presigned(local_aws, "POST", "/2015-03-31/functions", "lambda", host, function),
            {"Content-Type": "text/plain"},
            function,
        ),
        ("GET", "/photos", {}, b""),
    ):
        sent = {"Host": f"{host}:{local_aws.settings.port}", **more, **headers}
        status, answer = ask(local_aws, method, path, sent, body)
        assert status == 403, (method, path)
        assert "Local AWS is for this machine alone" in json.loads(answer)["message"]
    assert local_aws.gateway.clock.speed == 1
    assert local_aws.client("iam").list_users()["Users"] == []
    assert [one["Name"] for one in local_aws.client("s3").list_buckets()["Buckets"]] == ["photos"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"Host": "photos.localhost:4566"},
        {"Host": "[::1]:4566"},
        {"Origin": "http://localhost:8888"},
        {"Origin": "http://127.0.0.1:8888"},
        {**CROSS_SITE, "Referer": "http://localhost:8888/lab"},
        {"Sec-Fetch-Site": "none"},  # typed in by somebody
        {"Referer": "https://example.com/"},  # which tools may send
    ],
)
def test_this_machines_tools_and_pages_are_answered(local_aws: Any, headers: dict[str, str]) -> None:
    status, answer = ask(local_aws, "GET", "/_whippet/status", headers)
    assert (status, json.loads(answer)["account"]) == (200, "123456789012")
