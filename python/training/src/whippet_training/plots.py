"""The run folder's pictures: confusion matrix and reliability plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from whippet_training.metrics import Calibration

_LABELLED_CLASSES = 150
_COUNTED_CLASSES = 40


def plot_confusion_matrix(matrix: npt.NDArray[np.int64], classes: Sequence[str], title: str, path: Path) -> None:
    """Draws a confusion matrix as parts of each true class; up to 40 classes with the numbers of photos in the cells.

    Args:
        matrix: Photos by true class (row) and predicted class (column).
        classes: Names in the order of rows and columns.
        title: Above the matrix.
        path: PNG file to write.
    """
    count = len(classes)
    side = max(6.0, min(0.34 * count, 24.0))
    figure = Figure(figsize=(side + 2.5, side + 2), layout="constrained")
    axes = figure.subplots()
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if count <= _LABELLED_CLASSES:
        size = max(4.5, min(10.0, 72 * 0.75 * side / count))
        names = [name.replace("_", " ") for name in classes]
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= _COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if parts[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=7.5, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.6, label="part of the true class")
    figure.savefig(path, dpi=110)


def plot_reliability(calibration: Calibration, title: str, path: Path) -> None:
    """Draws accuracy against confidence, and under it how many photos had which confidence.

    Args:
        calibration: Of the photos to show.
        title: Above the plot; the calibration error is added.
        path: PNG file to write.
    """
    bins = len(calibration.count)
    edges = np.linspace(0, 1, bins + 1)
    centres, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
    figure = Figure(figsize=(6, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = calibration.count > 0
    upper.bar(
        centres[filled], calibration.accuracy[filled], width, color="#7aa6d6", edgecolor="white", label="accuracy"
    )
    upper.plot((0, 1), (0, 1), "--", color="#555555", linewidth=1, label="perfectly calibrated")
    upper.plot(
        calibration.confidence[filled], calibration.accuracy[filled], "o", color="#c0392b", label="mean confidence"
    )
    upper.set(
        ylim=(0, 1.02), ylabel="accuracy", title=f"{title}: calibration error {calibration.error:.3f}, {bins} bins"
    )
    figure.legend(loc="outside lower center", ncols=3)
    lower.bar(centres, calibration.count, width, color="#b8b8b8", edgecolor="white")
    lower.set(xlim=(0, 1), xlabel="confidence of the prediction", ylabel="photos")
    figure.savefig(path, dpi=110)
