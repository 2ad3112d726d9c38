"""How good a classifier is: accuracy, loss, calibration, and both per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whippet_training.head import Labels
from whippet_training.inference import Floats

CALIBRATION_BINS = 15
"""Equal-width confidence bins of the expected calibration error, as in Guo et al. 2017 (arXiv 1706.04599)."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy by confidence bin.

    Attributes:
        confidence: Mean confidence per bin, NaN where a bin is empty.
        accuracy: Part of the photos in a bin that were classified correctly, NaN where it is empty.
        count: Photos per bin.
    """

    confidence: Doubles
    accuracy: Doubles
    count: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, weighted by photos."""
        filled = self.count > 0
        gap = np.abs(self.confidence[filled] - self.accuracy[filled])
        return float((gap * self.count[filled]).sum() / self.count.sum())


def softmax(logits: Floats) -> Doubles:
    """Turns logits [N, classes] into probabilities, in double precision."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: Doubles = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def calibration(probabilities: Doubles, labels: Labels, bins: int = CALIBRATION_BINS) -> Calibration:
    """Bins photos by the confidence in their predicted class."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Calibration(
            confidence=np.bincount(place, confidence, minlength=bins) / count,
            accuracy=np.bincount(place, correct, minlength=bins) / count,
            count=count,
        )


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Finds the temperature that divides logits [N, classes] for the lowest loss on these photos, from 1/4 to 4.

    The scores become as sure as the answers are right, and no answer changes: Guo et al. 2017 (arXiv 1706.04599).
    The bounds keep photos that are all classified correctly from asking for a temperature of zero.
    """
    true = logits[np.arange(len(labels)), labels]

    def slope(scale: float) -> float:
        """The loss's derivative by the factor on the logits, in which it is convex."""
        return float(((softmax(logits * np.float32(scale)) * logits).sum(axis=1) - true).mean())

    low, high = 0.25, 4.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / math.sqrt(low * high)


def confusion_matrix(predicted: Labels, labels: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Counts photos by true class (row) and predicted class (column)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def summarise(logits: Floats, labels: Labels) -> dict[str, Any]:
    """Measures top-1, top-5, loss (mean cross-entropy in nats) and expected calibration error.

    With fewer than five classes, top-5 counts all of them.
    """
    probabilities = softmax(logits)
    rank = (logits > logits[np.arange(len(labels)), labels, np.newaxis]).sum(axis=1)
    true = probabilities[np.arange(len(labels)), labels]
    return {
        "top1": float((logits.argmax(axis=1) == labels).mean()),
        "top5": float((rank < 5).mean()),
        "loss": float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean()),
        "ece": calibration(probabilities, labels).error,
        "images": len(labels),
    }


def per_class(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Reads precision and recall per class from a confusion matrix; null where a class has no photo to divide by."""
    return [
        {
            "class": name,
            "precision": _ratio(matrix[i, i], matrix[:, i].sum()),
            "recall": _ratio(matrix[i, i], matrix[i].sum()),
            "images": int(matrix[i].sum()),
        }
        for i, name in enumerate(classes)
    ]


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
