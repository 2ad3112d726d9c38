"""Confidence intervals of a classifier's metrics, by the bootstrap: Efron & Tibshirani 1993, chapters 10 and 13."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whippet_training.head import Labels
from whippet_training.inference import Floats
from whippet_training.metrics import CALIBRATION_BINS, Doubles, softmax

RESAMPLES = 2000
LEVEL = 0.95

_CELLS = 2**22
"""Weights that are held at a time, resamples times photos."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
    """

    low: float
    high: float


def intervals(logits: Floats, labels: Labels, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Computes 95 % percentile intervals of top1, top5, loss and ece over the drawing of the photos.

    They say how the metrics would vary with other photos of the same kind, not with photos of another kind. The
    calibration error of a resample is larger on average than that of its photos, by as much as theirs is too large;
    its interval is moved down by that bias.

    Args:
        logits: [N, classes] of N photos, at least one.
        labels: Class numbers [N].
        seed: Of the resamples.
        resamples: Number of them.
    """
    rows = np.arange(len(labels))
    probabilities = softmax(logits)
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    rank = (logits > logits[rows, labels, np.newaxis]).sum(axis=1)
    true = np.maximum(probabilities[rows, labels], np.finfo(np.float64).tiny)
    values = np.stack([correct, rank < 5, -np.log(true)], axis=1)
    bins = np.zeros((len(labels), CALIBRATION_BINS))
    bins[rows, np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)] = confidence - correct

    draw = np.random.default_rng(seed)
    means, errors = [], []
    block = max(1, _CELLS // len(labels))
    even = np.full(len(labels), 1 / len(labels))
    for start in range(0, resamples, block):
        weights = draw.multinomial(len(labels), even, size=min(block, resamples - start)) / len(labels)
        means.append(weights @ values)
        # The gap of a bin times its part of the photos is the weighted sum of the gaps of its photos.
        errors.append(np.abs(weights @ bins).sum(axis=1))
    top1, top5, loss = np.concatenate(means).T
    error = np.concatenate(errors)
    bias = error.mean() - np.abs(bins.mean(axis=0)).sum()
    return {
        "top1": _proportion(top1, correct),
        "top5": _proportion(top5, values[:, 1]),
        "loss": _percentile(loss),
        "ece": _percentile(np.maximum(error - bias, 0.0)),
    }


def _proportion(means: Doubles, hits: Doubles) -> Interval:
    # Photos that are all right, or all wrong, give resamples that are, too: there the exact bound of Clopper & Pearson
    # 1934 says how seldom the other may be.
    seldom = round(1 - ((1 - LEVEL) / 2) ** (1 / len(hits)), 6)
    if hits.all():
        return Interval(1 - seldom, 1.0)
    return _percentile(means) if hits.any() else Interval(0.0, seldom)


def _percentile(values: Doubles) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(round(float(low), 6), round(float(high), 6))
