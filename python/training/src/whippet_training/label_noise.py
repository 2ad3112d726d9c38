"""Training photos whose label is probably wrong: confident learning on predictions that have not seen the photo.

Northcutt, Jiang, Chuang 2021 (arXiv 1911.00068). Their predictions come from cross-validation; here they come from
linear discriminant analysis of the features, whose leave-one-out predictions have a closed form: every photo is judged
by a classifier that was trained on all the others, at the price of one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from whippet_training.head import Labels
from whippet_training.inference import Floats
from whippet_training.metrics import fit_temperature, softmax
from whippet_training.rules import Rule

SHRINKAGE = 0.1
"""Part of the mean variance that is added to each feature's own: with fewer photos than features the covariance has no
inverse without it."""


MOST_VALUES = 2**27
"""Photos times features that are judged: a gigabyte in double precision, of which four are held at a time."""


@dataclass(frozen=True)
class Suspect:
    """A photo whose label is probably wrong.

    Attributes:
        number: Of the photo, among those that were judged.
        label: Number of the class it is filed under.
        looks_like: Number of the class it looks like.
        score: Probability of that class, judged by all other photos.
        own_score: Probability of the class it is filed under.
    """

    number: int
    label: int
    looks_like: int
    score: float
    own_score: float


def leave_one_out_logits(features: Floats, labels: Labels, classes: int) -> Floats:
    """Classifies every photo by linear discriminant analysis of all the others.

    Removing a photo moves the mean of its class and takes one outer product from the scatter; the inverse follows by
    the Sherman-Morrison formula, so that one matrix is factored, once. One thread computes, for the same bits anywhere.

    Args:
        features: Of the photos, [N, width].
        labels: Class numbers [N].
        classes: Number of classes; each has a photo.

    Returns:
        Logits [N, classes], not calibrated.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return _leave_one_out(torch.from_numpy(features).double(), torch.from_numpy(labels), classes)
    finally:
        torch.set_num_threads(threads)


def _leave_one_out(values: torch.Tensor, labels: torch.Tensor, classes: int) -> Floats:
    counts = torch.bincount(labels, minlength=classes).double()
    values = values - values.mean(dim=0)
    means = torch.zeros(classes, values.shape[1], dtype=torch.float64).index_add_(0, labels, values)
    means /= counts[:, None]
    residuals = values - means[labels]
    scatter = residuals.T @ residuals
    scatter.diagonal().add_(SHRINKAGE * scatter.diagonal().mean() + 1e-12)
    factor = torch.linalg.cholesky(scatter)
    white = torch.linalg.solve_triangular(factor, torch.cat([values, means]).T, upper=False).T
    photos, centres = white[: len(values)], white[len(values) :]

    # In whitened space, of photo i and class c, with v = photo - centre of c and u = photo - its own centre: |v|^2, v.u
    squared = (photos**2).sum(1)[:, None] - 2 * photos @ centres.T + (centres**2).sum(1)[None, :]
    own = photos - centres[labels]
    along = (photos * own).sum(1)[:, None] - own @ centres.T
    size = counts[labels]
    # A class of one photo cannot spare it: its mean stays.
    moved = torch.where(size > 1, size / (size - 1).clamp(min=1), torch.ones_like(size))
    taken = torch.where(size > 1, moved, torch.zeros_like(size))
    leverage = (own**2).sum(1)
    distance = squared + (taken / (1 - taken * leverage).clamp(min=1e-9))[:, None] * along**2
    rows = torch.arange(len(labels))
    distance[rows, labels] *= moved**2
    logits = counts.log()[None, :] - 0.5 * max(1, len(labels) - classes) * distance
    result: Floats = logits.float().numpy()
    return result


def suspects(logits: Floats, labels: Labels, least: float = 0.5) -> list[Suspect]:
    """Finds labels that confident learning holds for wrong, most suspect first.

    A photo is counted for the class it is likeliest to be of among those whose mean self-confidence it reaches; where
    that is not its own class, its label is suspect.

    Args:
        logits: Predictions that have not seen the photo, [N, classes]; they are calibrated here.
        labels: Class numbers [N].
        least: Smallest probability of the other class.
    """
    classes = logits.shape[1]
    probabilities = softmax(logits / np.float32(_temperature(logits, labels)))
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    confidence = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=classes) / counts
    reached = np.where(probabilities >= confidence[np.newaxis, :], probabilities, -1.0)
    likeliest = reached.argmax(axis=1)
    scores = reached.max(axis=1)
    found = [
        Suspect(int(i), int(labels[i]), int(likeliest[i]), float(scores[i]), float(probabilities[i, labels[i]]))
        for i in np.flatnonzero((likeliest != labels) & (scores >= least))
    ]
    return sorted(found, key=lambda one: (one.own_score, -one.score, one.number))


def _temperature(logits: Floats, labels: Labels) -> float:
    scale = 1.0
    for _ in range(4):  # fit_temperature looks between 1/4 and 4
        step = fit_temperature(logits / np.float32(scale), labels)
        scale *= step
        if 0.26 < step < 3.9:
            break
    return scale


@dataclass
class LabelNoise(Rule):
    """Many training photos look like another class than the one they are filed under.

    Attributes:
        own_score: Probability of a photo's own class below which its label counts as wrong.
        part: Of the photos. On 3,907 photos of dogs whose labels are good but for a few, 0.6 % count; with 2 % of the
            labels changed at random, 1.8 % do.
        least: Photos, so that one or two of a small set do not count as many.
    """

    name: ClassVar[str] = "label-noise"
    own_score: float = 0.02
    part: float = 0.0125
    least: int = 3

    def judge(self, found: Sequence[Suspect], photos: int) -> str | None:
        """Says whether there are too many suspects among so many training photos."""
        clear = sum(suspect.own_score < self.own_score for suspect in found)
        if clear < max(self.least, self.part * photos):
            return None
        return (
            f"{clear} of {photos} training photos look like another class than their own, more than hard cases "
            "explain: look at label_suspects in metrics.json, the most suspect first, and move or delete what is filed "
            "wrongly."
        )
