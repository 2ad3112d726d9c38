"""Fine-tuning as a part of a training: from the head on frozen features to the tuned network and its features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whippet_training.backbones import Backbone
from whippet_training.dataset import Dataset
from whippet_training.distributed import Group
from whippet_training.engines import create_engine
from whippet_training.errors import TrainingError
from whippet_training.finetune import FineTuned, Keeping, Labelled, fine_tune
from whippet_training.head import Examples, Head
from whippet_training.observe import Observer
from whippet_training.preparation import Prepared, Split, extract_features
from whippet_training.settings import Settings


@dataclass(frozen=True)
class Refined:
    """A tuned network, and what it sees in the photos.

    Attributes:
        tuned: The network.
        splits: valid and test with its features; train is as it was.
    """

    tuned: FineTuned
    splits: Mapping[str, Split]

    def report(self) -> dict[str, Any]:
        """What metrics.json holds of it."""
        return {
            "best_epoch": self.tuned.best + 1,
            "stopped": self.tuned.stopped,
            "images_per_second": round(self.tuned.images_per_second, 1),
            "epochs": [asdict(epoch) for epoch in self.tuned.history],
        }


def refine(
    backbone: Backbone,
    head: Head,
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
        head: Trained on its features.
        dataset: Its photos.
        prepared: Those that can be trained on.
        settings: Of the whole training.
        observer: Watches the fine-tuning, and may end it.
        checkpoints: Folder for checkpoints of any training; None keeps none.
        group: The processes that train together.

    Raises:
        TrainingError: If the fine-tuning fails, or the settings contradict each other.
        Interrupted: If a signal came while checkpoints are kept.
    """
    if settings.head.fit_on != "train":
        raise TrainingError(
            "Fine-tuning needs the validation photos to choose its best epoch: pass --fit-on train, or no "
            "--finetune-epochs."
        )
    train, valid = (
        Labelled(split.photos, split.examples.labels.tolist())
        for split in (prepared.splits["train"], prepared.splits["valid"])
    )
    keeping = Keeping(_own_folder(checkpoints, dataset, backbone, settings)) if checkpoints else None
    tuned = fine_tune(
        backbone,
        head,
        dataset.source,
        train,
        valid,
        len(prepared.classes),
        settings.finetuning,
        settings.seed,
        observer,
        keeping,
        group,
    )
    engines = [create_engine(settings.engine, network) for network in tuned.backbone.networks()]
    extractions = extract_features(dataset, {"valid": 1, "test": 1}, tuned.backbone, engines, None, group)
    splits = dict(prepared.splits)
    for name in ("valid", "test"):
        photos = splits[name].photos
        features = np.concatenate([extraction.features(photos) for extraction in extractions], axis=1)
        splits[name] = replace(splits[name], examples=Examples(features, splits[name].examples.labels))
    return Refined(tuned, splits)


def _own_folder(checkpoints: Path, dataset: Dataset, backbone: Backbone, settings: Settings) -> Path:
    identity = [asdict(settings), backbone.weights, dataset.fingerprint()]
    return checkpoints / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
