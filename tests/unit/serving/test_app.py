from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pythonjsonlogger.json import JsonFormatter
from starlette.testclient import TestClient

from whippet_serving.app import Limits, Service, create_app
from whippet_serving.archive import read_archive
from whippet_serving.classifier import Classifier
from whippet_serving.engine import Engine, EngineChoice, EngineSettings, Logits, load_engine
from whippet_serving.networks import Precision
from whippet_serving.photo import Pixels, preprocess


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


def service(model: Path, engine: Engine | None, executor: ThreadPoolExecutor, limits: Limits) -> Service:
    """A service that decodes in this process."""
    archive = read_archive(model)
    engine = engine or load_engine(
        archive, EngineSettings(EngineChoice.OPENVINO, threads=1, precision=Precision.FLOAT32)
    )
    decode = partial(preprocess, preprocessing=archive.preprocessing)
    return Service(Classifier(archive, engine, decode), executor, limits)


@pytest.fixture
def client(tiny_model: Path, executor: ThreadPoolExecutor) -> TestClient:
    return TestClient(create_app(service(tiny_model, None, executor, Limits(body_bytes=100_000))))


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
    app = create_app(service(tiny_model, gate, executor, Limits(in_flight=1)))
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


def test_counts_an_explained_photo_as_the_work_that_it_is(tiny_model: Path, executor: ThreadPoolExecutor) -> None:
    gate = Gate()
    app = create_app(service(tiny_model, gate, executor, Limits(in_flight=50)))
    with TestClient(app) as client, ThreadPoolExecutor(1) as caller:
        explained = caller.submit(client.post, "/invocations?explain=1", content=GREEN_JPEG, headers=JPEG)
        assert gate.entered.acquire(timeout=60)

        turned_away = client.post("/invocations", content=GREEN_JPEG, headers=JPEG)
        gate.open.set()

        assert_problem(turned_away, 503)
        assert explained.result(60).status_code == 200
        assert client.post("/invocations", content=GREEN_JPEG, headers=JPEG).status_code == 200


def test_turns_bodies_away_that_would_fill_its_memory_and_takes_the_next(
    tiny_model: Path, executor: ThreadPoolExecutor
) -> None:
    limits = Limits(arriving_bytes=len(GREEN_JPEG) + 1)
    client = TestClient(create_app(service(tiny_model, None, executor, limits)))

    for _ in range(2):
        assert_problem(client.post("/invocations", content=GREEN_JPEG + bytes(2), headers=JPEG), 503)
        assert client.post("/invocations", content=GREEN_JPEG, headers=JPEG).status_code == 200


def test_hides_a_failure_of_the_model_from_the_caller_and_shows_it_on_ping(
    tiny_model: Path, executor: ThreadPoolExecutor
) -> None:
    gate = Gate()
    gate.open.set()
    app = create_app(service(tiny_model, gate, executor, Limits()))
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


def lines(response: Response) -> list[dict[str, Any]]:
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/jsonlines"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("content_type", ["application/jsonlines", "application/x-ndjson; charset=utf-8"])
def test_answers_json_lines_line_by_line_and_each_wrong_one_with_its_own_problem(
    client: TestClient, content_type: str
) -> None:
    image = base64.b64encode(GREEN_JPEG).decode()
    damaged = base64.b64encode(GREEN_JPEG[:200]).decode()
    asked = [{"image": image, "top_k": 1}, {"image": damaged}, {"photo": image}, {"image": image}]
    body = "\n".join([*map(json.dumps, asked), "{", ""])

    good, undecodable, misnamed, default, broken = lines(
        client.post("/invocations?top_k=2", content=body, headers={"content-type": content_type})
    )

    assert [prediction["label"] for prediction in good["predictions"]] == ["green"]
    assert len(default["predictions"]) == 2
    assert [problem["status"] for problem in (undecodable, misnamed, broken)] == [422, 400, 400]


def test_answers_a_form_part_by_part(client: TestClient) -> None:
    files = [("a", ("a.jpg", GREEN_JPEG)), ("a", ("b.png", encode(GREEN, "PNG"))), ("c", ("c.txt", b"no photo"))]

    first, second, third = lines(client.post("/invocations?top_k=1", files=files))

    assert first == second
    assert first["predictions"][0]["label"] == "green"
    assert third["status"] == 415


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/jsonlines", 400),
        (b"\n \n", "application/jsonlines", 400),
        (b"{}\n" * 257, "application/jsonlines", 413),
        (b"", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"--y--\r\n", "multipart/form-data; boundary=x", 400),
        (
            b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\na\r\n' * 257 + b"--x--\r\n",
            "multipart/form-data; boundary=x",
            413,
        ),
    ],
)
def test_refuses_requests_for_many_photos_that_it_cannot_take_apart(
    client: TestClient, body: bytes, content_type: str, status: int
) -> None:
    assert_problem(client.post("/invocations", content=body, headers={"content-type": content_type}), status)


def test_fails_only_the_photo_that_the_model_fails_on(tiny_model: Path, executor: ThreadPoolExecutor) -> None:
    real = load_engine(
        read_archive(tiny_model), EngineSettings(EngineChoice.OPENVINO, threads=1, precision=Precision.FLOAT32)
    )

    class Flawed:
        name = "flawed"
        callers = 1

        def __call__(self, pixels: Pixels, alone: bool) -> Logits:
            if pixels.mean() < 10:
                raise RuntimeError("secret")
            return real(pixels, alone)

    client = TestClient(create_app(service(tiny_model, Flawed(), executor, Limits())))
    black = encode(Image.new("RGB", (50, 40)), "PNG")

    answers = lines(client.post("/invocations", files=[("a", GREEN_JPEG), ("b", black), ("c", GREEN_JPEG)]))

    assert [answer.get("status", 200) for answer in answers] == [200, 500, 200]
    assert "secret" not in answers[1]["detail"]


def test_hides_a_defect_of_its_own_from_the_caller(
    tiny_model: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defective(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("whippet_serving.app.read_invocations", defective)
    client = TestClient(create_app(service(tiny_model, None, executor, Limits())))

    response = client.post("/invocations", content=b"{}", headers={"content-type": "application/jsonlines"})

    assert "secret" not in assert_problem(response, 500)
    assert response.headers["x-request-id"]
    assert "ZeroDivisionError: secret" in caplog.text


def test_gives_up_a_request_that_is_not_answered_by_its_deadline(
    tiny_model: Path, executor: ThreadPoolExecutor
) -> None:
    gate = Gate()
    with TestClient(create_app(service(tiny_model, gate, executor, Limits(deadline_s=0.05)))) as client:
        late = client.post("/invocations", content=GREEN_JPEG, headers=JPEG)
        gate.open.set()

        assert_problem(late, 503)
        assert late.headers["retry-after"] == "1"
        assert client.get("/ping").status_code == 200


def test_shows_what_a_prediction_rests_on(client: TestClient) -> None:
    response = client.post("/invocations?explain=1", content=GREEN_JPEG, headers=JPEG)

    picture = Image.open(BytesIO(base64.b64decode(response.json()["explanation"])))
    assert (picture.format, picture.size) == ("PNG", (32, 32))
    assert "explanation" not in client.post("/invocations", content=GREEN_JPEG, headers=JPEG).json()


@pytest.mark.parametrize(
    ("given", "kept"), [("Root=1-67891233-abcdef", False), ("abc.1:2-3", True), ("x" * 129, False)]
)
def test_answers_with_the_request_id_that_it_was_given_or_one_of_its_own(
    client: TestClient, given: str, kept: bool
) -> None:
    response = client.post("/invocations", content=GREEN_JPEG, headers={**JPEG, "x-request-id": given})

    answered = response.headers["x-request-id"]
    assert (answered == given) is kept
    assert kept or len(answered) == 32


def test_writes_a_line_for_each_request_without_its_photo(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "whippet_serving.access"):
        client.post("/invocations", content=GREEN_JPEG, headers={**JPEG, "x-request-id": "mine"})
        client.post("/invocations", content=b"secret", headers=JPEG)

    good, bad = (json.loads(JsonFormatter("%(message)s").format(record)) for record in caplog.records)
    assert good["request_id"] == "mine"
    assert (good["status"], bad["status"]) == (200, 415)
    assert good["bytes"] == len(GREEN_JPEG)
    assert good.keys() >= {"ms", "decode_ms", "inference_ms"}
    assert "secret" not in caplog.text


def test_counts_for_prometheus(client: TestClient) -> None:
    client.post("/invocations", content=GREEN_JPEG, headers=JPEG)
    client.post("/invocations", content=b"no photo", headers=JPEG)
    client.post("/invocations", files=[("a", GREEN_JPEG), ("b", GREEN_JPEG)])

    response = client.get("/metrics")

    figures = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert response.headers["content-type"].startswith("text/plain")
    assert figures["whippet_requests_total", "200"] == 2
    assert figures["whippet_requests_total", "415"] == 1
    assert figures["whippet_photos_total", "200"] == 3
    assert figures["whippet_inference_seconds_count", None] == 3
    assert figures["whippet_request_seconds_count", None] == 3
    assert figures["whippet_in_flight", None] == 0


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
