from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whippet_serving.archive import read_archive
from whippet_serving.classifier import Classifier, rank
from whippet_serving.engine import Engine, EngineChoice, EngineSettings, Logits, load_engine
from whippet_serving.networks import Precision
from whippet_serving.photo import Pixels, preprocess
from whippet_serving.problem import RequestError

CLASSES = ("a", "b", "c", "d")


def classifier(model: Path, engine: Engine | EngineChoice) -> Classifier:
    archive = read_archive(model)
    if isinstance(engine, EngineChoice):
        engine = load_engine(archive, EngineSettings(engine, threads=1, precision=Precision.FLOAT32))
    return Classifier(archive, engine, partial(preprocess, preprocessing=archive.preprocessing))


def photo(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 50), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_ranks_by_softmax_probability() -> None:
    predictions = rank(np.log(np.array([0.1, 0.4, 0.2, 0.3], dtype=np.float32)), CLASSES, top_k=3)

    assert predictions == [
        {"label": "b", "score": 0.4},
        {"label": "d", "score": 0.3},
        {"label": "c", "score": 0.2},
    ]


def test_ranks_equal_classes_in_their_own_order() -> None:
    assert [p["label"] for p in rank(np.zeros(4, dtype=np.float32), CLASSES, top_k=4)] == list(CLASSES)


def test_ranks_large_logits_without_overflow() -> None:
    assert rank(np.array([1e4, 0, -1e4, 0], dtype=np.float32), CLASSES, top_k=1) == [{"label": "a", "score": 1.0}]


def test_returns_every_class_when_asked_for_more() -> None:
    assert len(rank(np.zeros(4, dtype=np.float32), CLASSES, top_k=10**9)) == 4


@pytest.mark.parametrize("colour", ["red", "lime", "blue"])
def test_classifies_a_photo(tiny_model: Path, colour: str) -> None:
    answer = classifier(tiny_model, EngineChoice.AUTO).classify(photo(colour), top_k=1).document

    assert [p["label"] for p in answer["predictions"]] == ["green" if colour == "lime" else colour]
    assert answer["model"] == {"id": "0123456789ab", "name": "mean-colour", "backbone": "none"}


class Meeting:
    """An engine whose callers wait until as many as expected are there."""

    name = "meeting"

    def __init__(self, callers: int) -> None:
        self.callers = callers
        self.barrier = threading.Barrier(callers, timeout=60)
        self.told_alone: list[bool] = []

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        self.told_alone.append(alone)
        self.barrier.wait()
        return np.zeros(3, dtype=np.float32)


def test_tells_the_engine_when_a_photo_is_alone(tiny_model: Path) -> None:
    engine = Meeting(callers=1)
    asked = classifier(tiny_model, engine)

    asked.classify(photo("red"), top_k=1)
    with pytest.raises(RequestError):
        asked.classify(b"not a photo", top_k=1)
    asked.classify(photo("red"), top_k=1)

    assert engine.told_alone == [True, True]


def test_tells_the_engine_when_photos_are_worked_on_at_once(tiny_model: Path) -> None:
    engine = Meeting(callers=2)
    asked = classifier(tiny_model, engine)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda content: asked.classify(content, 1), [photo("red")] * 2))

    assert sorted(engine.told_alone) == [False, True]


@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize("top_k", [1, 3])
def test_answers_as_the_archives_hooks_do(
    tiny_model_with_onnx: Path, monkeypatch: pytest.MonkeyPatch, engine: str, top_k: int
) -> None:
    """AWS's stock container answers through ``code/inference.py``: callers must not notice which of the two serves."""
    hooks = pytest.importorskip("whippet_training.inference")
    monkeypatch.setenv("WHIPPET_ENGINE", engine)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 47, 3), dtype=np.uint8))
    buffer = BytesIO()
    noise.save(buffer, "JPEG")
    body = json.dumps({"image": base64.b64encode(buffer.getvalue()).decode(), "top_k": top_k})
    prediction = hooks.predict_fn(hooks.input_fn(body, "application/json"), hooks.model_fn(str(tiny_model_with_onnx)))
    expected = json.loads(hooks.output_fn(prediction, "application/json")[0])

    answer = classifier(tiny_model_with_onnx, EngineChoice(engine)).classify(buffer.getvalue(), top_k).document

    assert answer["model"] == expected["model"]
    assert [p["label"] for p in answer["predictions"]] == [p["label"] for p in expected["predictions"]]
    np.testing.assert_allclose(  # pixels differ by a rounding of the resize
        [p["score"] for p in answer["predictions"]], [p["score"] for p in expected["predictions"]], atol=1e-4
    )
