from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from whippet_serving.app import Limits, create_app
from whippet_serving.archive import read_archive
from whippet_serving.classifier import Classifier, load_classifier
from whippet_serving.engine import EngineChoice, Logits
from whippet_serving.photo import Pixels


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


GREEN = Image.new("RGB", (50, 40), (10, 200, 30))
GREEN_JPEG = encode(GREEN, "JPEG")
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def client(tiny_model: Path, executor: ThreadPoolExecutor) -> TestClient:
    classifier = load_classifier(tiny_model, EngineChoice.OPENVINO, threads=1)
    return TestClient(create_app(classifier, executor, Limits(body_bytes=100_000)))


def assert_problem(response: Response, status: int) -> str:
    """Checks that a response is a problem document and returns its detail."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) == {"type", "title", "status", "detail"}
    assert (document["type"], document["status"]) == ("about:blank", status)
    assert document["title"] and "\n" not in document["detail"]
    return str(document["detail"])


def test_answers_ping(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_classifies_every_served_content_type(client: TestClient, format_: str) -> None:
    response = client.post(
        "/invocations", content=encode(GREEN, format_), headers={"content-type": f"image/{format_.lower()}"}
    )

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["model"] == {"id": "0123456789ab", "name": "mean-colour", "backbone": "none"}
    assert [set(prediction) for prediction in body["predictions"]] == [{"label", "score"}] * 3
    assert body["predictions"][0]["label"] == "green"
    scores = [prediction["score"] for prediction in body["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_classifies_a_photo_in_json(client: TestClient) -> None:
    response = client.post("/invocations", json={"image": base64.b64encode(GREEN_JPEG).decode(), "top_k": 1})

    assert [prediction["label"] for prediction in response.json()["predictions"]] == ["green"]


@pytest.mark.parametrize(
    ("query", "headers", "count"),
    [
        ("?top_k=2", {}, 2),
        ("", {"x-amzn-sagemaker-custom-attributes": "top_k=1"}, 1),
        ("?top_k=2", {"x-amzn-sagemaker-custom-attributes": "top_k=1"}, 2),
        ("?top_k=1000", {}, 3),
    ],
)
def test_returns_as_many_predictions_as_asked_for(
    client: TestClient, query: str, headers: dict[str, str], count: int
) -> None:
    response = client.post(f"/invocations{query}", content=GREEN_JPEG, headers={**JPEG, **headers})

    assert len(response.json()["predictions"]) == count


def test_lets_the_first_bytes_decide_between_the_served_types(client: TestClient) -> None:
    assert client.post("/invocations", content=encode(GREEN, "PNG"), headers=JPEG).status_code == 200


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", JPEG, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (GREEN_JPEG, {}, 415),
        (GREEN_JPEG, {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"GIF89a", JPEG, 415),
        (GREEN_JPEG[:200], JPEG, 422),
        (bytes(100_001), JPEG, 413),
    ],
)
def test_refuses_bad_requests_with_a_problem_document(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    assert_problem(client.post("/invocations", content=content, headers=headers), status)


def test_refuses_unknown_paths_and_methods_with_a_problem_document(client: TestClient) -> None:
    assert "/invocations" in assert_problem(client.get("/nothing"), 404)
    assert_problem(client.post("/ping/"), 404)
    assert_problem(client.get("/invocations"), 405)
    assert client.get("/invocations").headers["allow"] == "POST"


def test_takes_a_body_of_exactly_the_limit(client: TestClient) -> None:
    photo = GREEN_JPEG + bytes(100_000 - len(GREEN_JPEG))  # decoders ignore what follows the end of the image

    assert client.post("/invocations", content=photo, headers=JPEG).status_code == 200


def test_refuses_a_chunked_body_over_the_limit(client: TestClient) -> None:
    chunks = (bytes(10_000) for _ in range(11))

    assert "100000 bytes" in assert_problem(client.post("/invocations", content=chunks, headers=JPEG), 413)


class Gate:
    """An engine that answers once it is opened, and can be told to fail."""

    name = "gate"

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.error: Exception | None = None

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        self.entered.release()
        assert self.open.wait(60)
        if self.error:
            raise self.error
        return np.zeros(3, dtype=np.float32)


def test_turns_requests_away_beyond_the_limit_and_still_answers_ping(
    tiny_model: Path, executor: ThreadPoolExecutor
) -> None:
    gate = Gate()
    app = create_app(Classifier(read_archive(tiny_model), gate), executor, Limits(in_flight=1))
    with TestClient(app) as client, ThreadPoolExecutor(1) as caller:
        first = caller.submit(client.post, "/invocations", content=GREEN_JPEG, headers=JPEG)
        assert gate.entered.acquire(timeout=60)

        turned_away = client.post("/invocations", content=GREEN_JPEG, headers=JPEG)
        ping = client.get("/ping")
        gate.open.set()

        assert_problem(turned_away, 503)
        assert turned_away.headers["retry-after"] == "1"
        assert ping.status_code == 200
        assert first.result(60).status_code == 200
        assert client.post("/invocations", content=GREEN_JPEG, headers=JPEG).status_code == 200


def test_hides_a_failure_of_the_model_from_the_caller_and_shows_it_on_ping(
    tiny_model: Path, executor: ThreadPoolExecutor
) -> None:
    gate = Gate()
    gate.open.set()
    app = create_app(Classifier(read_archive(tiny_model), gate), executor, Limits())
    client = TestClient(app, raise_server_exceptions=False)

    gate.error = RuntimeError("secret")
    failure = client.post("/invocations", content=GREEN_JPEG, headers=JPEG)
    ping_after_failure = client.get("/ping")
    gate.error = None
    recovered = client.post("/invocations", content=GREEN_JPEG, headers=JPEG)

    assert "secret" not in assert_problem(failure, 500)
    assert_problem(ping_after_failure, 503)
    assert recovered.status_code == 200
    assert client.get("/ping").status_code == 200


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(noise, "JPEG", exif=exif),
        encode(noise, "JPEG", progressive=True),
        encode(noise.convert("CMYK"), "JPEG"),
        encode(noise, "PNG", exif=exif),
        encode(noise.quantize(16), "PNG", transparency=3),
        encode(Image.fromarray(rng.integers(0, 65536, (24, 30), dtype=np.uint16)), "PNG"),
        encode(noise, "PNG", save_all=True, append_images=[GREEN.resize((30, 24))]),
        encode(noise, "WEBP", exif=exif),
        encode(noise.convert("RGBA"), "WEBP", lossless=True, save_all=True, append_images=[noise]),
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_answers_damaged_pictures_with_predictions_or_a_4xx(client: TestClient, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(pictures())))
    for _ in range(data.draw(st.integers(1, 8), "edits")):
        start = data.draw(st.integers(0, len(content)), "start")
        match data.draw(st.sampled_from(["overwrite", "insert", "delete", "cut"]), "edit"):
            case "overwrite":
                new = data.draw(st.binary(min_size=1, max_size=8))
                content[start : start + len(new)] = new
            case "insert":
                content[start:start] = data.draw(st.binary(min_size=1, max_size=32))
            case "delete":
                del content[start : start + data.draw(st.integers(1, 64))]
            case "cut":
                del content[start:]

    response = client.post("/invocations", content=bytes(content), headers=JPEG)

    if response.status_code == 200:
        assert len(response.json()["predictions"]) == 3
    else:
        assert response.status_code in {400, 415, 422}
        assert_problem(response, response.status_code)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["image", "top_k"]) | st.text(), inner),
        ).map(lambda document: json.dumps(document).encode()),
    )
)
def test_answers_any_json_with_a_4xx(client: TestClient, body: bytes) -> None:
    response = client.post("/invocations", content=body, headers={"content-type": "application/json"})

    assert response.status_code in {400, 415}
    assert_problem(response, response.status_code)
