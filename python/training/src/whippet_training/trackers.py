"""Trackers that people already have: TensorBoard and MLflow, each an extra of the package."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from whippet_training.console import stderr
from whippet_training.errors import TrainingError
from whippet_training.observe import Epoch, Observer, Step

EXPERIMENT = "whippet"
_MLFLOW_TIMEOUT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow itself tries a server that is gone for minutes, and the training would wait."""


class Tracker(Observer, Protocol):
    """Keeps what is seen of a training where people compare trainings."""

    def conclude(self, parameters: Mapping[str, Any], report: Mapping[str, Any], run: Path, model: Path) -> None:
        """The training went well.

        Args:
            parameters: Hyperparameters, by name.
            report: What metrics.json holds.
            run: Folder of the report.
            model: Folder of the archive's content.
        """

    def abandon(self) -> None:
        """The training failed; also called after a ``conclude``, which counts."""


def create_trackers(tensorboard: Path | None, mlflow: str | None) -> list[Tracker]:
    """Creates the trackers that are asked for.

    Args:
        tensorboard: Folder for TensorBoard's logs.
        mlflow: Address of a tracking server or database, or a folder.

    Raises:
        TrainingError: If one is not installed or cannot be reached.
    """
    trackers: list[Tracker] = []
    if tensorboard is not None:
        trackers.append(TensorBoard(tensorboard))
    if mlflow is not None:
        trackers.append(MLflow(mlflow))
    return trackers


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures at the end of a training, flat: test_top1, test_clean_loss, seconds, grams and so on."""
    splits = [name for name in ("valid", "test", "test_clean") if report.get(name)]
    flat = {f"{name}_{metric}": report[name][metric] for name in splits for metric in ("top1", "top5", "loss", "ece")}
    cost = report.get("footprint", {})
    flat |= {name: cost[name] for name in ("seconds", "dollars", "grams") if cost.get(name) is not None}
    return {name: float(value) for name, value in flat.items()}


def _losses(epoch: Epoch) -> dict[str, float]:
    values = {
        "train_loss": epoch.train_loss,
        "valid_loss": epoch.valid_loss,
        "train_top1": epoch.train_top1,
        "valid_top1": epoch.valid_top1,
        "learning_rate": epoch.learning_rate,
    }
    return {name: value for name, value in values.items() if value is not None}


class TensorBoard:
    """Writes event files that ``tensorboard --logdir`` shows, while the training goes on.

    Args:
        folder: For all trainings; this one gets a folder in it, named after the time, with one for each head.
        name: Of this training's folder.

    Raises:
        TrainingError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        try:
            from torch.utils import tensorboard
        except ImportError:
            raise TrainingError("TensorBoard is not installed: pip install 'whippet-training[tensorboard]'") from None
        self._create = tensorboard.SummaryWriter
        self._folder = folder / (name or time.strftime("%Y%m%d-%H%M%S"))
        self._trainings = 0
        self._writer: Any = None

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """See Observer."""
        self._trainings += 1
        self._writer = self._create(str(self._folder / f"training-{self._trainings}"))

    def step(self, step: Step) -> None:
        """See Observer."""

    def epoch(self, epoch: Epoch) -> None:
        """See Observer."""
        for name, value in _losses(epoch).items():
            self._writer.add_scalar(name, value, epoch.number + 1)
        self._writer.flush()

    def finish(self) -> None:
        """See Observer."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def conclude(self, parameters: Mapping[str, Any], report: Mapping[str, Any], run: Path, model: Path) -> None:
        """See Tracker: the figures, the hyperparameters and the plots."""
        with self._create(str(self._folder)) as writer:
            for name, value in figures(report).items():
                writer.add_scalar(f"end/{name}", value)
            rows = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
            writer.add_text("hyperparameters", f"| name | value |\n| --- | --- |\n{rows}")
            for path in sorted(run.glob("*.png")):
                with Image.open(path) as plot:
                    writer.add_image(path.stem, np.asarray(plot.convert("RGB")), dataformats="HWC")

    def abandon(self) -> None:
        """See Tracker."""
        self.finish()


class MLflow:
    """Logs a run of MLflow's experiment "whippet", and below it a run for each head that is trained.

    A server that fails while the training goes on costs the tracking, not the training.

    Args:
        address: ``http(s)://…``, ``sqlite:///…``, or a folder, which gets a database and the artifacts.

    Raises:
        TrainingError: If MLflow is not installed or the address does not answer.
    """

    def __init__(self, address: str) -> None:
        for name, value in _MLFLOW_TIMEOUT.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise TrainingError("MLflow is not installed: pip install 'whippet-training[mlflow]'") from None
        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        self._metric, self._param, self._failure = Metric, Param, MlflowException
        self._run: str | None = None
        self._child: str | None = None
        self._trainings = 0
        artifacts = None
        if "://" not in address:
            folder = Path(address).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            address, artifacts = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        try:
            self._client = mlflow.MlflowClient(tracking_uri=address)
            known = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = (
                known.experiment_id
                if known
                else self._client.create_experiment(EXPERIMENT, artifact_location=artifacts)
            )
            self._run = self._client.create_run(self._experiment).info.run_id
        except Exception as error:  # MLflow passes on errors of HTTP and database libraries
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise TrainingError(f"MLflow at {address} cannot be used: {reason}") from error

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """See Observer."""
        self._trainings += 1
        tags = {"mlflow.parentRunId": self._run, "mlflow.runName": f"training {self._trainings}"}
        child = self._try(lambda: self._client.create_run(self._experiment, tags=tags))
        self._child = child.info.run_id if child else None

    def step(self, step: Step) -> None:
        """See Observer."""

    def epoch(self, epoch: Epoch) -> None:
        """See Observer."""
        self._log(self._child, _losses(epoch), epoch.number + 1)

    def finish(self) -> None:
        """See Observer."""
        child, self._child = self._child, None
        if child:
            self._try(lambda: self._client.set_terminated(child))

    def conclude(self, parameters: Mapping[str, Any], report: Mapping[str, Any], run: Path, model: Path) -> None:
        """See Tracker: parameters, figures, every file of the run folder, and the model as the artifact "model"."""
        own = self._run
        if own is None:
            return
        given = [self._param(name, str(value)[:500]) for name, value in parameters.items()]
        self._try(lambda: self._client.log_batch(own, params=given))
        self._log(own, figures(report), 0)
        self._try(lambda: self._client.log_artifacts(own, str(run)))
        self._try(lambda: self._client.log_artifacts(own, str(model), "model"))
        self._try(lambda: self._client.set_terminated(own))
        self._run = None

    def abandon(self) -> None:
        """See Tracker."""
        own, self._run = self._run, None
        self.finish()
        if own:
            self._try(lambda: self._client.set_terminated(own, "FAILED"))

    def _log(self, run: str | None, values: Mapping[str, float], number: int) -> None:
        if run is None:
            return
        now = int(time.time() * 1000)
        logged = [self._metric(name, value, now, number) for name, value in values.items() if np.isfinite(value)]
        self._try(lambda: self._client.log_batch(run, metrics=logged))

    def _try(self, call: Any) -> Any:
        try:
            return call()
        except (self._failure, OSError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            stderr.print(f"warning: MLflow: {reason}; nothing more is logged", markup=False, soft_wrap=True)
            self._run = self._child = None
            return None
