"""What TensorBoard and MLflow can read back of a real, small training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from whippet_training.errors import TrainingError
from whippet_training.head import Examples, train_heads
from whippet_training.observe import Observers
from whippet_training.settings import HeadSettings
from whippet_training.trackers import EXPERIMENT, MLflow, TensorBoard, Tracker, create_trackers, figures

PARAMETERS = {"learning_rate": 0.001, "weight_decay": [0.01, 1.0], "seed": 0}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    run, model = tmp_path / "run", tmp_path / "model"
    (model / "code").mkdir(parents=True)
    run.mkdir()
    (model / "code/inference.py").write_text("pass")
    (run / "metrics.json").write_text(json.dumps(REPORT))
    Image.new("RGB", (40, 30), "navy").save(run / "reliability.png")
    return run, model


SUMMARY = {"top1": 0.9, "top5": 1.0, "loss": 0.3, "ece": 0.02}
REPORT: dict[str, Any] = {
    "valid": SUMMARY,
    "test": {**SUMMARY, "top1": 0.8},
    "footprint": {"seconds": 12.0, "dollars": None, "grams": 0.1},
}


def train(tracker: Tracker) -> list[tuple[float, ...]]:
    draw = np.random.default_rng(0)
    photos = [Examples(draw.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3) for _ in "12"]
    settings = HeadSettings(epochs=4, weight_decays=(0.01, 1.0))
    trials = train_heads(*photos, 3, settings, 0, Observers([tracker]))
    return [trial.valid_loss for trial in sorted(trials, key=lambda trial: trial.weight_decay)]


def test_tensorboard_shows_the_losses_of_every_training_and_the_figures_at_the_end(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    tracker = TensorBoard(tmp_path / "logs", "mine")
    losses = train(tracker)
    tracker.conclude(PARAMETERS, REPORT, *folders)
    for number, expected in enumerate(losses, start=1):
        events = EventAccumulator(str(tmp_path / f"logs/mine/training-{number}")).Reload()
        told = events.Scalars("valid_loss")
        assert [one.step for one in told] == list(range(1, len(expected) + 1))
        assert [one.value for one in told] == pytest.approx(list(expected), rel=1e-6)
        assert {"train_loss", "valid_top1", "learning_rate"} <= set(events.Tags()["scalars"])
    end = EventAccumulator(str(tmp_path / "logs/mine")).Reload()
    assert end.Scalars("end/test_top1")[0].value == pytest.approx(0.8)
    assert end.Tags()["images"] == ["reliability"]
    assert b"learning_rate | 0.001" in end.Tensors("hyperparameters/text_summary")[0].tensor_proto.string_val[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MLflow, whose database takes seconds to create."""
    folder = tmp_path_factory.mktemp("mlflow")
    MLflow(str(folder)).abandon()
    return folder


@pytest.fixture
def client(store: Path) -> mlflow.MlflowClient:
    """Reads it, once it is emptied."""
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    for run in runs_of(client):
        client.delete_run(run.info.run_id)
    return client


def runs_of(client: mlflow.MlflowClient) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]))


def test_mlflow_keeps_parameters_losses_figures_and_files(
    folders: tuple[Path, Path], store: Path, client: mlflow.MlflowClient
) -> None:
    tracker = MLflow(str(store))
    losses = train(tracker)
    tracker.conclude(PARAMETERS, REPORT, *folders)
    tracker.abandon()
    runs = runs_of(client)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.data.params == {"learning_rate": "0.001", "weight_decay": "[0.01, 1.0]", "seed": "0"}
    assert parent.data.metrics["test_top1"] == 0.8
    assert "dollars" not in parent.data.metrics
    children = sorted(
        (run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id),
        key=lambda run: run.data.tags["mlflow.runName"],
    )
    for run, expected in zip(children, losses, strict=True):
        told = client.get_metric_history(run.info.run_id, "valid_loss")
        assert [one.value for one in sorted(told, key=lambda one: one.step)] == pytest.approx(list(expected))
    files = {path.name for path in (store / "artifacts").rglob("*") if path.is_file()}
    assert files == {"metrics.json", "reliability.png", "inference.py"}


def test_a_training_that_fails_is_a_failed_run(store: Path, client: mlflow.MlflowClient) -> None:
    tracker = MLflow(str(store))
    train(tracker)
    tracker.abandon()
    assert sorted(run.info.status for run in runs_of(client)) == ["FAILED", "FINISHED", "FINISHED"]


def test_an_address_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"MLflow at .* cannot be used"):
        MLflow(f"sqlite:///{tmp_path}/file/x.db")


def test_a_server_that_goes_away_costs_the_tracking_and_not_the_training(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MLflow(str(store))

    def gone(*_: object, **__: object) -> None:
        raise mlflow.MlflowException("the server is gone")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", gone)
    assert len(train(tracker)) == 2
    tracker.abandon()
    assert "MLflow: the server is gone; nothing more is logged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("modules", "asked", "extra"),
    [
        (["torch.utils.tensorboard"], {"tensorboard": Path("logs"), "mlflow": None}, "tensorboard"),
        (["mlflow"], {"tensorboard": None, "mlflow": "runs"}, "mlflow"),
    ],
)
def test_a_missing_extra_is_named(
    modules: list[str], asked: dict[str, Any], extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
        if "." in module:
            monkeypatch.delattr(sys.modules["torch.utils"], "tensorboard", raising=False)
    with pytest.raises(TrainingError, match=rf"pip install 'whippet-training\[{extra}\]'"):
        create_trackers(**asked)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_tracked_unless_asked() -> None:
    assert create_trackers(None, None) == []
    assert figures({"valid": SUMMARY}) == {f"valid_{name}": value for name, value in SUMMARY.items()}
