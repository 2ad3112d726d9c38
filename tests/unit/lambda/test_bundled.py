"""The model in the function's own package answers as the endpoint would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.hostile import bombs
from support.lambda_function import Context, image_event
from support.photos import encode, jpeg
from whippet_lambda.answer import answer, predictor
from whippet_lambda.bundled import HOOKS, BundledModel
from whippet_lambda.config import Config, ConfigError
from whippet_serving.archive import open_archive
from whippet_serving.classifier import Classifier
from whippet_serving.engine import EngineChoice, EngineSettings, load_engine
from whippet_serving.photo import preprocess

GREEN = (10, 200, 30)
PHOTOS = [
    jpeg(GREEN, (60, 50)),
    encode(Image.new("RGB", (90, 40), (200, 20, 9)), "PNG"),
    encode(Image.new("RGBA", (40, 40), (0, 0, 255, 128)), "WEBP"),
    encode(Image.linear_gradient("L").resize((300, 200)), "JPEG"),
]


@pytest.fixture(scope="module")
def bundled(tiny_model_with_hooks: Path) -> Iterator[BundledModel]:
    yield BundledModel(str(tiny_model_with_hooks))
    sys.modules.pop(HOOKS, None)


def ask(bundled: BundledModel, event: Any, seconds: float = 30) -> tuple[int, dict[str, Any]]:
    given = answer(event, Context(seconds), predictor(Config("", model_dir="model"), bundled))
    return given["statusCode"], json.loads(given["body"])


@pytest.mark.parametrize("photo", PHOTOS, ids=["jpeg", "png", "webp", "grey"])
def test_its_answer_is_the_servers(bundled: BundledModel, tiny_model_with_hooks: Path, photo: bytes) -> None:
    with open_archive(tiny_model_with_hooks) as archive:
        engine = load_engine(archive, EngineSettings(EngineChoice.ONNX, warm_up_s=0))
        classifier = Classifier(archive, engine, lambda content: preprocess(content, archive.preprocessing))
    expected = classifier.classify(photo, top_k=5).document
    status, body = ask(bundled, image_event(photo))
    assert (status, body["model"]) == (200, expected["model"])
    assert [one["label"] for one in body["predictions"]] == [one["label"] for one in expected["predictions"]]
    scores = [[one["score"] for one in each["predictions"]] for each in (body, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_it_returns_as_many_classes_as_are_asked_for(bundled: BundledModel) -> None:
    counts = [len(ask(bundled, image_event(PHOTOS[0], **more))[1]["predictions"]) for more in ({}, {"top_k": 2})]
    assert counts == [3, 2]


@pytest.mark.parametrize(
    ("photo", "status"),
    [
        (b"hello, I am no photo", 415),
        (PHOTOS[0][:-300], 422),
        (b"\xff\xd8\xff" + bytes(60), 422),
    ],
)
def test_what_is_no_sound_photo_is_refused_with_what_to_do(bundled: BundledModel, photo: bytes, status: int) -> None:
    answered, body = ask(bundled, image_event(photo))
    assert answered == status
    assert "send" in body["detail"].lower() or "save" in body["detail"]


@pytest.mark.parametrize(("name", "bomb"), [pytest.param(*one, id=one[0]) for one in bombs()])
def test_bombs_are_refused_or_cost_no_more_than_a_photo(bundled: BundledModel, name: str, bomb: bytes) -> None:
    status, body = ask(bundled, image_event(bomb))
    # Pillow stops at the pixels that the header names
    assert (status, "predictions" in body) == ((200, True) if name == "png more pixels than it says" else (422, False))


def test_a_call_without_time_is_not_begun(bundled: BundledModel) -> None:
    assert ask(bundled, image_event(PHOTOS[0]), seconds=0.2)[0] == 504


def test_one_photo_is_decoded_at_a_time_also_where_the_last_call_was_given_up(
    bundled: BundledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, left = threading.Event(), threading.Event()
    input_fn = bundled._hooks.input_fn

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert left.wait(30)
        return input_fn(*arguments)

    monkeypatch.setattr(bundled._hooks, "input_fn", slow)
    assert ask(bundled, image_event(PHOTOS[0]), seconds=0.7)[0] == 504
    assert entered.is_set()
    monkeypatch.setattr(bundled._hooks, "input_fn", input_fn)
    assert ask(bundled, image_event(PHOTOS[0]), seconds=0.7)[0] == 504

    left.set()
    assert ask(bundled, image_event(PHOTOS[0]))[0] == 200


def start(folder: Path, **environment: str) -> dict[str, Any]:
    """Asks the entry point about a green photo, in a process of its own, as Lambda starts it."""
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.lambda_function import Context, image_event\n"
        "from support.photos import jpeg\n"
        "from whippet_lambda.handler import handler\n"
        "sys.stderr.write(json.dumps(handler(image_event(jpeg((10, 200, 30), (60, 50))), Context())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[2])],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "LAMBDA_TASK_ROOT": str(folder.parent),
            "WHIPPET_MODEL_DIR": folder.name,
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    answered: dict[str, Any] = json.loads(done.stderr)
    answered["log"] = json.loads(done.stdout)
    return answered


def test_the_entry_point_needs_neither_region_nor_credentials(tiny_model_with_hooks: Path) -> None:
    answered = start(tiny_model_with_hooks, WHIPPET_ENGINE="onnx")
    assert answered["statusCode"] == 200
    assert json.loads(answered["body"])["predictions"][0]["label"] == "green"


def test_a_package_that_cannot_run_says_how_to_build_it_and_the_log_says_why(
    tiny_model_with_hooks: Path, tmp_path: Path
) -> None:
    """As one for another processor: its libraries cannot be loaded."""
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text("raise ImportError('cannot open shared object file')")
    with pytest.raises(ConfigError, match=r"\(ImportError\).*build_single_hop"):
        BundledModel(str(tmp_path / "model"))
    answered = start(tmp_path / "model")
    assert answered["statusCode"] == 502
    detail = json.loads(answered["body"])["detail"]
    assert "scripts/build_single_hop.py" in detail
    assert "shared object" not in detail
    assert "cannot open shared object file" in answered["log"]["cause"]
