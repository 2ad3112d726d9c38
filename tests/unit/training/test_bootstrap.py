from __future__ import annotations

import numpy as np
import pytest

from whippet_training import metrics
from whippet_training.bootstrap import intervals
from whippet_training.head import Labels
from whippet_training.inference import Floats


def answers(count: int, seed: int, sharpness: float = 3.0, classes: int = 6) -> tuple[Floats, Labels]:
    """Logits whose probabilities are those by which the labels are drawn: calibrated by construction."""
    draw = np.random.default_rng(seed)
    logits = (draw.normal(size=(count, classes)) * sharpness).astype(np.float32)
    chances = metrics.softmax(logits).cumsum(axis=1)
    return logits, (draw.random(count)[:, np.newaxis] > chances).sum(axis=1).astype(np.int64).clip(0, classes - 1)


def test_the_interval_of_top1_is_that_of_a_proportion() -> None:
    logits, labels = answers(500, 1)
    top1 = metrics.summarise(logits, labels)["top1"]
    half = 1.96 * np.sqrt(top1 * (1 - top1) / 500)
    interval = intervals(logits, labels, seed=0)["top1"]
    assert interval.low == pytest.approx(top1 - half, abs=0.006)
    assert interval.high == pytest.approx(top1 + half, abs=0.006)


def test_19_of_20_intervals_hold_the_true_value() -> None:
    logits, labels = answers(100_000, 7, sharpness=1.5, classes=12)
    truth = metrics.summarise(logits, labels)
    held = dict.fromkeys(("top1", "top5", "loss"), 0)
    for seed in range(120):
        chosen = np.random.default_rng(seed).integers(0, len(labels), 200)
        given = intervals(logits[chosen], labels[chosen], seed, resamples=300)
        for name in held:
            held[name] += given[name].low <= truth[name] <= given[name].high
    assert all(0.88 <= count / 120 <= 0.995 for count in held.values()), held


def test_the_interval_of_the_calibration_error_holds_the_error_measured() -> None:
    for scale in (0.5, 1.0, 3.0):
        logits, labels = answers(400, 3)
        interval = intervals(logits * np.float32(scale), labels, seed=0)["ece"]
        measured = metrics.summarise(logits * np.float32(scale), labels)["ece"]
        assert interval.low <= measured <= interval.high
        assert interval.high - interval.low < 0.1


def test_the_same_seed_gives_the_same_intervals_in_one_block_or_many(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = answers(300, 2)
    first = intervals(logits, labels, seed=4)
    assert intervals(logits, labels, seed=4) == first
    assert intervals(logits, labels, seed=5) != first
    monkeypatch.setattr("whippet_training.bootstrap._CELLS", 30_000)
    assert intervals(logits, labels, seed=4) == first


def test_photos_that_are_all_right_do_not_prove_that_all_others_are() -> None:
    right = np.eye(6, dtype=np.float32)[np.arange(100) % 6] * 9
    interval = intervals(right, np.arange(100) % 6, seed=0)["top1"]
    assert (interval.low, interval.high) == (pytest.approx(1 - 0.0362, abs=1e-4), 1.0)
    wrong = intervals(right, (np.arange(100) + 1) % 6, seed=0)["top1"]
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(0.0362, abs=1e-4))
    assert intervals(right[:1], np.array([0]), seed=0)["top1"].low < 0.05
