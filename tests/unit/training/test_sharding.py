from __future__ import annotations

import hashlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whippet_training.backbones import create_backbone
from whippet_training.cache import FeatureCache
from whippet_training.dataset import read_dataset
from whippet_training.engines import create_engine
from whippet_training.features import Extraction, extract
from whippet_training.head import Examples, train_heads
from whippet_training.settings import HeadSettings
from whippet_training.sharding import shard

WORK = {hashlib.sha256(bytes([number])).digest(): 1 + 3 * (number % 3 == 0) for number in range(100)}


class Thread:
    """One of several processes that are threads here: they meet as those do, and share nothing else."""

    def __init__(self, rank: int, size: int, table: list[Any], meeting: threading.Barrier) -> None:
        self.rank, self.size, self._table, self._meeting = rank, size, table, meeting

    def gather(self, obj: Any) -> list[Any]:
        self._table[self.rank] = obj
        self._meeting.wait(60)
        gathered = list(self._table)
        self._meeting.wait(60)
        return gathered


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_content_belongs_to_one_part(size: int) -> None:
    parts = [shard(WORK, rank, size) for rank in range(size)]
    assert Counter(content for part in parts for content in part) == Counter(WORK.keys())


@pytest.mark.parametrize("size", [2, 3, 7])
def test_parts_are_of_the_same_size_and_take_the_same_time(size: int) -> None:
    parts = [shard(WORK, rank, size) for rank in range(size)]
    counts = [len(part) for part in parts]
    views = [sum(WORK[content] for content in part) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert max(views) - min(views) <= 4


def test_parts_do_not_depend_on_the_order_of_the_files() -> None:
    assert shard(dict(reversed(WORK.items())), 1, 3) == shard(WORK, 1, 3)


def test_one_two_and_three_ranks_find_the_same_features_and_the_same_weights(drawn: Path, tmp_path: Path) -> None:
    dataset = read_dataset(drawn)
    views = {photo: 2 if photo.split == "train" else 1 for photo in dataset.photos}
    backbone = create_backbone("tf_efficientnet_lite0")
    engine = create_engine("openvino", backbone)

    def extract_with(size: int) -> list[Extraction]:
        table, meeting = [None] * size, threading.Barrier(size)

        def one(rank: int) -> Extraction:
            folder = tmp_path / f"{size}-{rank}"
            folder.mkdir()
            if rank == 2:  # it has been here before, and knows some features of everybody's part
                known = dict(list(views.items())[:20])
                with FeatureCache(folder, backbone.width) as cache:
                    extract(dataset.source, known, backbone, engine, cache)
            with FeatureCache(folder, backbone.width) as cache:
                return extract(dataset.source, views, backbone, engine, cache, group=Thread(rank, size, table, meeting))

        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(one, range(size)))

    (alone,) = extract_with(1)
    assert alone.computed == sum(views.values())
    train = [photo for photo in dataset.photos if photo.split == "train"]
    valid = [photo for photo in dataset.photos if photo.split == "valid"]
    number = {label: i for i, label in enumerate(dataset.classes)}

    def weights(extraction: Extraction) -> list[Any]:
        examples = [
            Examples(extraction.features(photos), np.array([number[photo.label] for photo in photos], np.int64))
            for photos in (train, valid)
        ]
        trial = train_heads(*examples, len(number), HeadSettings(epochs=3), 0)[0]
        return [array for layer in trial.head.layers for array in layer]

    expected = weights(alone)
    for size in (2, 3):
        found = extract_with(size)
        for one in found:
            assert one.entries.keys() == alone.entries.keys()
            for key, entry in one.entries.items():
                assert entry.pixels == alone.entries[key].pixels
                assert np.array_equal(entry.feature, alone.entries[key].feature)
        for layer, other in zip(expected, weights(found[-1]), strict=True):
            assert np.array_equal(layer, other)
