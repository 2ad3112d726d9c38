from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.lambda_function import JPEG, PNG, WEBP, Context, Reply, Runtime, http_event, image_event
from whippet_lambda import photo as photos
from whippet_lambda.answer import answer, predictor
from whippet_lambda.config import Config, ConfigError
from whippet_lambda.deadline import RESERVE

STATUSES = {200, 400, 403, 405, 413, 415, 422, 429, 502, 504}


def ask(
    event: Any, config: Config, runtime: Runtime, seconds: float = 30
) -> tuple[int, dict[str, Any], dict[str, str]]:
    given_answer = answer(event, Context(seconds), predictor(config, runtime.endpoint()))
    assert given_answer.keys() == {"statusCode", "headers", "body"}
    return given_answer["statusCode"], json.loads(given_answer["body"]), given_answer["headers"]


@pytest.mark.parametrize(("photo", "content_type"), [(JPEG, "image/jpeg"), (PNG, "image/png"), (WEBP, "image/webp")])
def test_a_photo_is_passed_on_with_its_own_type(
    config: Config, runtime: Runtime, photo: bytes, content_type: str
) -> None:
    status, body, headers = ask(image_event(photo), config, runtime)
    assert (status, headers) == (200, {"content-type": "application/json"})
    assert body == {
        "predictions": [{"label": "Pug", "score": 0.9}],
        "model": {"id": "abc"},
        "request_id": Context.aws_request_id,
    }
    [(path, sent, raw)] = runtime.requests
    assert (path, sent["content-type"], raw) == ("/endpoints/breeds/invocations", content_type, photo)
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert sent["x-amz-security-token"] == "token"


def test_top_k_reaches_the_container(config: Config, runtime: Runtime) -> None:
    ask(image_event(top_k=3), config, runtime)
    ask(http_event(base64.b64encode(JPEG).decode(), queryStringParameters={"top_k": "2"}), config, runtime)
    ask(image_event(), config, runtime)
    sent = [headers.get("x-amzn-sagemaker-custom-attributes") for _, headers, _ in runtime.requests]
    assert sent == ["top_k=3", "top_k=2", None]


def test_a_function_urls_body_is_the_photo(config: Config, runtime: Runtime) -> None:
    status, _, _ = ask(http_event(base64.b64encode(JPEG).decode()), config, runtime)
    assert (status, runtime.requests[0][2]) == (200, JPEG)


def test_a_function_urls_body_may_be_json(config: Config, runtime: Runtime) -> None:
    event = http_event(
        json.dumps(image_event()), encoded=False, headers={"content-type": "application/json; charset=utf-8"}
    )
    status, _, _ = ask(event, config, runtime)
    assert (status, runtime.requests[0][2]) == (200, JPEG)


@pytest.mark.parametrize(
    ("event", "status", "says"),
    [
        (None, 400, "image"),
        ([], 400, "image"),
        ("photo", 400, "image"),
        ({}, 400, "image"),
        ({"image": "x", "url": "https://a"}, 400, "Send one of"),
        ({"image": 7}, 400, "must be a string"),
        ({"image": ""}, 400, "not empty"),
        ({"image": "%%%"}, 400, "base64"),
        (image_event(top_k=0), 400, "top_k"),
        (image_event(top_k=True), 400, "top_k"),
        (image_event(top_k="many"), 400, "top_k"),
        (image_event(top_k=1.5), 400, "top_k"),
        (image_event(b"GIF89a" + bytes(20)), 415, "JPEG, PNG or WebP"),
        (image_event(JPEG + bytes(6 * 1024 * 1024)), 413, "6291456"),
        ({"url": "https://elsewhere.example.com/dog.jpg"}, 403, "not fetched from this host"),
        ({"url": "http://images.example.org/dog.jpg"}, 400, "https://host/path"),
        ({"s3": "photos/dog.jpg"}, 400, "s3://bucket/key"),
        ({"s3": "s3://photos/\ud800.jpg"}, 400, "s3://bucket/key"),
        ({"s3": "s3://photos/" + "é" * 513}, 400, "s3://bucket/key"),
        (http_event(None), 400, "empty"),
        (http_event("%%%"), 400, "base64"),
        (http_event("hello", encoded=False), 415, "JPEG, PNG or WebP"),
        (http_event("{", encoded=False, headers={"content-type": "application/json"}), 400, "valid JSON"),
        (http_event("[" * 100_000, encoded=False, headers={"content-type": "application/json"}), 400, "valid JSON"),
        (http_event("\ud800", encoded=False), 415, "JPEG, PNG or WebP"),
        (http_event("x", requestContext={"http": {"method": "GET"}}), 405, "POST"),
    ],
)  # fmt: skip
def test_a_bad_request_is_told_what_to_do_and_never_reaches_the_endpoint(
    config: Config, runtime: Runtime, event: Any, status: int, says: str
) -> None:
    got, body, headers = ask(event, config, runtime)
    assert (got, headers["content-type"]) == (status, "application/problem+json")
    assert body["status"] == status
    assert says in body["detail"]
    assert runtime.requests == []


def test_the_answer_of_a_defect_tells_nothing_and_the_log_has_its_place(
    config: Config, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(photo: bytes) -> str:
        raise KeyError("arn:aws:iam::123456789012:role/secret")

    monkeypatch.setattr("whippet_lambda.photo.content_type", broken)
    status, body, _ = ask(image_event(), config, runtime)
    assert status == 502
    logged = capsys.readouterr().out
    assert "KeyError at broken" in logged
    assert "123456789012" not in json.dumps(body) + logged


def test_the_log_is_one_line_of_json_without_the_photo(
    config: Config, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    event = image_event()
    ask(event, config, runtime)
    [line] = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert facts.keys() == {"level", "status", "ms", "request_id", "source", "bytes"}
    assert event["image"] not in line


def test_a_call_that_stalls_is_answered_before_lambda_ends_it(
    config: Config, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }.items():
            monkeypatch.setenv(name, value)
        photos._s3.cache_clear()
        status, body, _ = ask({"s3": "s3://photos/dog.jpg"}, config, runtime, seconds=RESERVE + 0.5)
        photos._s3.cache_clear()
    assert (status, body["title"]) == (504, "Gateway Timeout")


TEXT = st.text(st.characters(exclude_categories=()))  # half surrogate pairs too: JSON can spell them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["image", "s3", "url", "top_k", "body", "isBase64Encoded", "headers", "queryStringParameters", "requestContext"]
)
PHOTOS = st.sampled_from([JPEG, PNG, WEBP]).map(lambda photo: base64.b64encode(photo).decode())
EVENTS = (
    JSON
    | st.dictionaries(FIELDS, JSON | PHOTOS | st.fixed_dictionaries({"http": JSON}), max_size=9)
    | st.builds(http_event, PHOTOS, queryStringParameters=JSON, headers=JSON)
    | st.builds(lambda body, top_k: {"image": body, "top_k": top_k}, PHOTOS, JSON)
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=EVENTS)
def test_any_event_gets_a_well_formed_answer(config: Config, runtime: Runtime, event: Any) -> None:
    runtime.replies[:] = [Reply(400, {}, "ValidationError")]
    status, body, headers = ask(event, config, runtime)
    assert status in STATUSES - {200}
    assert body["status"] == status
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "WHIPPET_ENDPOINT_NAME"),
        ({"WHIPPET_ENDPOINT_NAME": "x", "WHIPPET_MODEL_DIR": "model"}, "not both"),
        ({"WHIPPET_ENDPOINT_NAME": "x", "WHIPPET_MAX_PHOTO_BYTES": "-1"}, "WHIPPET_MAX_PHOTO_BYTES"),
        *(
            ({"WHIPPET_ENDPOINT_NAME": "x", "WHIPPET_ALLOWED_URL_HOSTS": host}, "WHIPPET_ALLOWED_URL_HOSTS")
            for host in ("*", "*.com", "localhost", "https://a.example", "127.0.0.1", "0x7f.0x1", "[::1]", "a.b:443")
        ),
    ],
)
def test_a_wrong_environment_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Config.from_environment(environment)


def test_the_hosts_and_the_size_come_from_the_environment() -> None:
    environment = {
        "WHIPPET_ENDPOINT_NAME": "breeds",
        "WHIPPET_ALLOWED_URL_HOSTS": " Images.Example.org ,, *.b.example",
        "WHIPPET_MAX_PHOTO_BYTES": "1000",
    }
    assert Config.from_environment(environment) == Config(
        "breeds", frozenset({"images.example.org", "*.b.example"}), 1000
    )


def start(environment: dict[str, str]) -> dict[str, Any]:
    """Asks the entry point in a process of its own, as Lambda starts it."""
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.lambda_function import Context, image_event\n"
        "from whippet_lambda.handler import handler\n"
        "sys.stderr.write(json.dumps(handler(image_event(), Context())))"
    )
    tests = str(Path(__file__).parents[2])
    environment = {**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", script, tests], env=environment, capture_output=True, text=True, check=True
    )
    answered: dict[str, Any] = json.loads(done.stderr)
    return answered


def test_the_entry_point_takes_everything_from_lambdas_environment(runtime: Runtime) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "WHIPPET_ENDPOINT_NAME": "breeds",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": runtime.url,
    }
    assert start(environment)["statusCode"] == 200


@pytest.mark.parametrize("missing", ["WHIPPET_ENDPOINT_NAME", "AWS_REGION", "AWS_ACCESS_KEY_ID"])
def test_a_function_that_is_not_set_up_says_what_is_missing(missing: str) -> None:
    environment = {
        "WHIPPET_ENDPOINT_NAME": "breeds",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    del environment[missing]
    answered = start({"PATH": os.environ["PATH"], **environment})
    assert answered["statusCode"] == 502
    assert f"Set {missing}" in json.loads(answered["body"])["detail"]
