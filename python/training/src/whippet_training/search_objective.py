"""What a trial does: it trains a head on features that all trials share, and is judged on validation photos alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whippet_training.backbones import create_backbone
from whippet_training.dataset import Dataset
from whippet_training.engines import create_engine
from whippet_training.head import Examples, train_head
from whippet_training.preparation import Prepared, extract_features, prepare
from whippet_training.search import Report
from whippet_training.search_space import Space

Representation = tuple[str, int]
"""Backbone and image size: what decides a photo's features."""


def extract_space(
    dataset: Dataset, space: Space, engine: str, cache: Path | None, allow_leakage: bool
) -> dict[Representation, Prepared]:
    """Computes all features that trials may ask for.

    Test photos are computed once, by the first network, for two ends: pictures that leak between splits stop the search
    before it starts, and the final training finds them in the cache. Their features are not handed on.

    Raises:
        TrainingError: If a backbone cannot be had, the same picture lies in two splits, or too few photos are readable.
    """
    views = max(int(value) for value in space.values("views"))
    prepared: dict[Representation, Prepared] = {}
    for backbone_name in space.values("backbone"):
        for image_size in space.values("image_size"):
            wanted = {"train": views, "valid": 1, **({} if prepared else {"test": 1})}
            backbone = create_backbone(str(backbone_name), int(image_size))
            engines = [create_engine(engine, network) for network in backbone.networks()]
            extractions = extract_features(dataset, wanted, backbone, engines, cache)
            found = prepare(dataset, extractions, wanted, allow_leakage)
            learned = {name: found.splits[name] for name in ("train", "valid")}
            prepared[str(backbone_name), int(image_size)] = Prepared(found.classes, learned, found.skipped, found.leaks)
    return prepared


class HeadObjective:
    """The lowest mean cross-entropy per validation photo that a head comes to.

    Args:
        prepared: Features of every backbone and image size in the space.
        space: What is searched.
        seed: Of every training.
    """

    def __init__(self, prepared: Mapping[Representation, Prepared], space: Space, seed: int) -> None:
        self._prepared, self._space, self._seed = prepared, space, seed

    def __call__(self, chosen: Mapping[str, Any], report: Report) -> float:
        """Trains with what Optuna has chosen."""
        settings = self._space.settings(chosen, seed=self._seed)
        prepared = self._prepared[settings.backbone, settings.image_size]
        train, valid = prepared.splits["train"].examples, prepared.splits["valid"].examples
        seen = Examples(train.features, train.labels, train.views[: settings.views - 1])
        decay = settings.head.weight_decays[0]
        trial = train_head(seen, valid, len(prepared.classes), settings.head, decay, self._seed, report)
        return min(trial.valid_loss)
