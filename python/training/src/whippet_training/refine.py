"""Fine-tuning as a part of a training: from the head on frozen features to the tuned network and its features."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whippet_training.backbones import Backbone
from whippet_training.dataset import Dataset
from whippet_training.distributed import Group
from whippet_training.engines import create_engine
from whippet_training.finetune import FineTuned, Keeping, Labelled, fine_tune
from whippet_training.head import Examples, Head
from whippet_training.observe import Observer
from whippet_training.preparation import Prepared, Split, extract_features
from whippet_training.settings import Settings


@dataclass(frozen=True)
class Refined:
    """A tuned network, and what it sees in the photos.

    Attributes:
        tuned: The network, its head and how they came about.
        splits: valid and test with its features; train is as it was.
        checkpoints: Folder of this fine-tuning's checkpoints; None if none were kept.
    """

    tuned: FineTuned
    splits: Mapping[str, Split]
    checkpoints: Path | None

    @property
    def backbone(self) -> Backbone:
        """The tuned backbone."""
        return self.tuned.backbone

    @property
    def head(self) -> Head:
        """The head that was tuned with it."""
        return self.tuned.head

    def report(self) -> dict[str, Any]:
        """What metrics.json holds of it."""
        return {
            "best_epoch": self.tuned.best + 1,
            "stopped": self.tuned.stopped,
            "images_per_second": round(self.tuned.images_per_second, 1),
            "epochs": [asdict(epoch) for epoch in self.tuned.history],
        }

    def forget_checkpoints(self) -> None:
        """Deletes the checkpoints, once what they were for is written."""
        if self.checkpoints:
            shutil.rmtree(self.checkpoints, ignore_errors=True)


def refine(
    backbone: Backbone,
    head: Head | None,
    dataset: Dataset,
    prepared: Prepared,
    settings: Settings,
    observer: Observer,
    checkpoints: Path | None,
    group: Group | None = None,
) -> Refined:
    """Fine-tunes a backbone and its head, and computes the features of the photos that measure them.

    Args:
        backbone: Stays as it is.
        head: Trained on its features; that of process 0 counts.
        dataset: Its photos.
        prepared: Those that can be trained on.
        settings: Of the whole training.
        observer: Watches the fine-tuning, and may end it.
        checkpoints: Folder for the checkpoints of any training; each has one of its own there. None keeps none.
        group: The processes that train together.

    Raises:
        TrainingError: If the fine-tuning fails.
        Interrupted: If a signal came while checkpoints are kept.
    """
    group = group or Group()
    start = group.broadcast(head)
    folder = _own_folder(checkpoints, dataset, backbone, settings) if checkpoints else None
    train, valid = (
        Labelled(split.photos, split.examples.labels.tolist())
        for split in (prepared.splits["train"], prepared.splits["valid"])
    )
    tuned = fine_tune(
        backbone,
        start,
        dataset.source,
        train,
        valid,
        len(prepared.classes),
        settings.finetuning,
        settings.seed,
        observer,
        Keeping(folder) if folder else None,
        group,
    )
    engines = [create_engine(settings.engine, network) for network in tuned.backbone.networks()]
    extractions = extract_features(dataset, {"valid": 1, "test": 1}, tuned.backbone, engines, None, group)
    splits = dict(prepared.splits)
    for name in ("valid", "test"):
        photos = splits[name].photos
        features = np.concatenate([extraction.features(photos) for extraction in extractions], axis=1)
        splits[name] = replace(splits[name], examples=Examples(features, splits[name].examples.labels))
    return Refined(tuned, splits, folder)


def _own_folder(checkpoints: Path, dataset: Dataset, backbone: Backbone, settings: Settings) -> Path:
    identity = [asdict(settings), backbone.weights, dataset.fingerprint()]
    return checkpoints / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
