"""The training command as people, the CLI and SageMaker run it; the backbone is Lite0, the quickest."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

BACKBONE = "tf_efficientnet_lite0"
SCHEMA = Path(__file__).parents[3] / "python/training/src/whippet_training/model.schema.json"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    return subprocess.run(
        [sys.executable, "-m", "whippet_training.train", *arguments, "--backbone", BACKBONE],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def metrics(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return document


@pytest.fixture(scope="session")
def trained(drawn: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one training."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = run(str(drawn), "--out", str(folder), WHIPPET_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def archive(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of that training, unpacked."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(trained / "model.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_the_run_folder_holds_the_model_and_its_report(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "model.tar.gz",
        "metrics.json",
        "predictions.json",
        "confusion_matrix.png",
        "reliability.png",
        "model_card.md",
        "model_card.html",
    }
    for name in ("confusion_matrix.png", "reliability.png"):
        with Image.open(trained / name) as plot:
            assert min(plot.size) > 300


def test_the_metrics_say_how_good_it_is_and_how_it_came_about(trained: Path) -> None:
    report = metrics(trained)
    for split in ("valid", "test"):
        assert report[split].keys() >= {"top1", "top5", "loss", "ece", "images", "per_class"}
        assert [row["class"] for row in report[split]["per_class"]] == ["bee", "fish", "owl"]
        assert report[split]["top1"] > 0.6
    assert report["data"]["images"] == {"train": 30, "valid": 12, "test": 12}
    assert report["data"]["fingerprint"].startswith("sha256:")
    assert report["seed"] == 0
    assert report["hyperparameters"].keys() >= {"learning_rate", "batch_size", "epochs", "patience", "weight_decay"}
    assert report["versions"].keys() >= {"whippet_training", "python", "torch", "timm", "openvino"}
    assert report["seconds"].keys() >= {"features", "head", "export"}


def test_the_report_and_the_card_say_how_sure_the_figures_are_and_what_the_training_cost(trained: Path) -> None:
    report = metrics(trained)
    low, high = report["test"]["interval_95"]["top1"]
    assert low <= report["test"]["top1"] <= high
    assert report["footprint"]["seconds"] > 0
    assert report["footprint"]["grams"] > 0
    assert (report["rules"], report["label_suspects"]) == ([], [])
    assert "seconds on" in (trained / "model_card.md").read_text()


def test_a_rule_that_stops_ends_the_training_with_a_model_and_the_reason(
    drawn: Path, shared_cache: Path, tmp_path: Path
) -> None:
    learning = ("--learning-rate", "1e-8", "--weight-decay", "0.01", "--patience", "50")
    done = run(
        str(drawn), "--out", str(tmp_path / "run"), *learning, "--rule", "chance-level=stop", "--rule",
        "loss-not-decreasing=off", WHIPPET_CACHE=str(shared_cache),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning: chance-level: the loss is 1.1" in done.stderr
    assert "stopped early" in done.stdout
    [finding] = metrics(tmp_path / "run")["rules"]
    assert (finding["rule"], finding["action"], finding["epoch"]) == ("chance-level", "stop", 9)
    assert metrics(tmp_path / "run")["trials"][0]["stopped"].startswith("chance-level")
    assert "chance-level" in (tmp_path / "run/model_card.md").read_text()


def test_a_profile_and_trackers_watch_a_training_without_changing_its_model(
    drawn: Path, trained: Path, shared_cache: Path, tmp_path: Path
) -> None:
    """Features are computed anew, so that every phase has something to do; where MLflow logs is test_trackers.py's."""
    done = run(
        str(drawn), "--out", str(tmp_path / "run"), "--profile", "--tensorboard", str(tmp_path / "logs"),
        WHIPPET_CACHE=str(tmp_path / "another-cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/model.tar.gz").read_bytes() == (trained / "model.tar.gz").read_bytes()
    profile = metrics(tmp_path / "run")["profile"]
    phases = {one["name"]: one for one in profile["phases"]}
    assert phases.keys() == {"io", "decode", "transform", "compile", "forward", "backward", "optimiser"}
    assert phases["decode"]["calls"] == 54
    assert all(one["seconds"] <= profile["seconds"] for one in phases.values())
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("decode", "other"))] == [
        "decode",
        "other",
    ]
    trace = json.loads(gzip.decompress((tmp_path / "run/trace.json.gz").read_bytes()))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"decode", "ProfilerStep#3", "whippet.backward"} <= names
    assert len(list((tmp_path / "logs").rglob("events.out.tfevents.*"))) == 3


def test_the_predictions_are_of_every_test_photo_and_give_the_metrics(trained: Path) -> None:
    predictions = json.loads((trained / "predictions.json").read_text())
    assert predictions["split"] == "test"
    right = [photo["label"] == photo["predictions"][0]["label"] for photo in predictions["photos"]]
    assert len(right) == 12
    assert sum(right) / len(right) == metrics(trained)["test"]["top1"]


def test_model_json_fits_the_schema(archive: Path) -> None:
    document = json.loads((archive / "model.json").read_text())
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["classes"] == ["bee", "fish", "owl"]
    assert document["preprocessing"] == {
        "resize": 256,
        "crop": 224,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }


def test_the_same_data_and_seed_give_the_same_archive_bit_for_bit(drawn: Path, trained: Path, tmp_path: Path) -> None:
    done = run(str(drawn), "--out", str(tmp_path / "again"), WHIPPET_CACHE=str(tmp_path / "another-cache"))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "again")["features"] == {"computed": 54, "cached": 0}
    assert (tmp_path / "again/model.tar.gz").read_bytes() == (trained / "model.tar.gz").read_bytes()


def test_the_archive_is_the_same_whether_features_were_computed_or_cached(
    drawn: Path, trained: Path, shared_cache: Path, tmp_path: Path
) -> None:
    done = run(str(drawn), "--out", str(tmp_path / "again"), WHIPPET_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "again")["features"] == {"computed": 0, "cached": 54}
    assert (tmp_path / "again/model.tar.gz").read_bytes() == (trained / "model.tar.gz").read_bytes()


def test_features_come_from_the_cache_and_damaged_ones_are_computed_again(
    drawn: Path, trained: Path, shared_cache: Path, tmp_path: Path
) -> None:
    cache = Path(shutil.copytree(shared_cache, tmp_path / "cache"))
    [segment] = cache.rglob("*.features")
    size = segment.stat().st_size
    damaged = bytearray(segment.read_bytes()[: size - 100])
    damaged[200] ^= 255
    segment.write_bytes(damaged)
    done = run(str(drawn), "--out", str(tmp_path / "run"), WHIPPET_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")["features"] == {"computed": 2, "cached": 52}
    assert (tmp_path / "run/model.tar.gz").read_bytes() == (trained / "model.tar.gz").read_bytes()


def test_leakage_between_splits_is_refused_unless_allowed(data: Path, shared_cache: Path, tmp_path: Path) -> None:
    shutil.copy(data / "train/bee/0.jpg", data / "test/bee/leak.jpg")
    refused = run(str(data), "--out", str(tmp_path / "run"), WHIPPET_CACHE=str(shared_cache))
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: 1 pictures lie in more than one split")
    assert "test/bee/leak.jpg" in refused.stderr
    assert not (tmp_path / "run").exists()
    allowed = run(str(data), "--out", str(tmp_path / "run"), "--allow-leakage", WHIPPET_CACHE=str(shared_cache))
    assert allowed.returncode == 0, allowed.stderr
    assert metrics(tmp_path / "run")["leaks"] == [["test/bee/leak.jpg", "train/bee/0.jpg"]]


def test_unreadable_photos_are_skipped_counted_and_listed(data: Path, shared_cache: Path, tmp_path: Path) -> None:
    (data / "train/bee/0.jpg").write_bytes(b"")
    (data / "train/owl/1.jpg").write_bytes((data / "train/owl/1.jpg").read_bytes()[:3000])
    done = run(str(data), "--out", str(tmp_path / "run"), WHIPPET_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    assert "skipped 2 photos" in done.stderr
    assert [one["file"] for one in metrics(tmp_path / "run")["skipped"]] == ["train/bee/0.jpg", "train/owl/1.jpg"]
    assert metrics(tmp_path / "run")["data"]["images"]["train"] == 28


def test_a_folder_without_splits_and_one_without_a_test_split_train(
    data: Path, shared_cache: Path, tmp_path: Path
) -> None:
    whole = run(str(data / "train"), "--out", str(tmp_path / "whole"), WHIPPET_CACHE=str(shared_cache))
    assert whole.returncode == 0, whole.stderr
    assert metrics(tmp_path / "whole")["data"]["images"] == {"train": 24, "valid": 3, "test": 3}
    shutil.rmtree(data / "test")
    untested = run(str(data), "--out", str(tmp_path / "untested"), WHIPPET_CACHE=str(shared_cache))
    assert untested.returncode == 0, untested.stderr
    assert metrics(tmp_path / "untested")["test"] is None
    assert json.loads((tmp_path / "untested/predictions.json").read_text())["split"] == "valid"


def test_photos_that_the_backbone_has_seen_are_left_out_of_the_clean_figures(
    data: Path, shared_cache: Path, tmp_path: Path
) -> None:
    rows = [
        f"test/{animal}/{number}.jpg,{'train' if number else 'none'}" for animal in ("bee", "owl") for number in (0, 1)
    ]
    (data / "manifest.csv").write_text("file,imagenet_split\n" + "\n".join(rows) + "\n")
    done = run(str(data), "--out", str(tmp_path / "run"), WHIPPET_CACHE=str(shared_cache))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")["test_clean"]["images"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Name the folder"),
        (["no-such-folder"], "is not a folder"),
        (["{data}", "--backbone", "tf_efficientnet_lite9"], "did you mean"),
        (["{data}", "--rule", "overfit=perhaps"], "actions are stop, warn, off"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(drawn: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    given = [argument.replace("{data}", str(drawn)) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "whippet_training.train", *given, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_with_somebodys_files_is_not_overwritten(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run(str(drawn), "--out", str(tmp_path))
    assert done.returncode == 1
    assert "not a run folder" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_sagemaker_job_finds_the_archives_content_in_its_model_folder(
    drawn: Path, shared_cache: Path, archive: Path, tmp_path: Path
) -> None:
    model, output = tmp_path / "model", tmp_path / "output"
    done = run(
        "--weight_decay", "0.01", "--weight_decay", "1.0", "--learning_rate", "0.001", "--seed", "0",
        WHIPPET_CACHE=str(shared_cache),
        SM_CHANNEL_TRAINING=str(drawn),
        SM_MODEL_DIR=str(model),
        SM_OUTPUT_DATA_DIR=str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert names == {
        "model.json",
        "model.xml",
        "model.bin",
        "model.onnx",
        "model.pt",
        "code/inference.py",
        "model_card.md",
        "model_card.html",
    }
    assert (model / "model.json").read_bytes() == (archive / "model.json").read_bytes()
    assert {path.name for path in output.iterdir()} >= {"metrics.json", "confusion_matrix.png"}


def test_a_sagemaker_job_that_fails_says_why(tmp_path: Path) -> None:
    done = run(
        SM_CHANNEL_TRAINING=str(tmp_path / "none"), SM_MODEL_DIR=str(tmp_path / "model"), SM_OUTPUT_DIR=str(tmp_path)
    )
    assert done.returncode == 1
    assert "is not a folder" in (tmp_path / "failure").read_text()


HOOKS = """
import json, sys
sys.path.insert(0, sys.argv[1] + "/code")
sys.modules["whippet_training"] = None
if sys.argv[2] == "torch":
    sys.modules["openvino"] = None
    import importlib.util as util
    find = util.find_spec
    util.find_spec = lambda name, *rest: None if name == "openvino" else find(name, *rest)
import inference
model = inference.model_fn(sys.argv[1])
for path in sys.argv[3:]:
    request = inference.input_fn(open(path, "rb").read(), "image/jpeg")
    body, kind = inference.output_fn(inference.predict_fn(request, model), "application/json")
    print(body)
"""


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_hooks_in_the_archive_answer_as_the_trained_model_does(
    archive: Path, trained: Path, drawn: Path, engine: str
) -> None:
    """In a process that has the archive only, as AWS's PyTorch container has; without OpenVINO through PyTorch."""
    photos = json.loads((trained / "predictions.json").read_text())["photos"]
    files = [str(drawn / photo["file"]) for photo in photos]
    done = subprocess.run(
        [sys.executable, "-c", HOOKS, str(archive), engine, *files], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(photos)
    for photo, answer in zip(photos, answers, strict=True):
        assert [one["label"] for one in answer["predictions"]] == [one["label"] for one in photo["predictions"]]
        for expected, given in zip(photo["predictions"], answer["predictions"], strict=True):
            assert given["score"] == pytest.approx(expected["score"], abs=1e-3)
