"""Shows what a prediction rests on: the parts of the photo without which the model is less sure of it.

Each part in turn is covered in grey, and the model asked again (occlusion sensitivity: Zeiler and Fergus, "Visualizing
and Understanding Convolutional Networks", 2014, section 4.2, https://arxiv.org/abs/1311.2901). That needs no gradients,
so that every engine can do it, and means the same for every network.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from whippet_serving.engine import Logits
from whippet_serving.photo import Pixels

GRID = 7
"""Parts per side. A cover reaches over the neighbours as well: one part alone, the network mostly does without."""

PHOTOS = 1 + GRID**2
"""How many photos' work an explained one is."""

_GREY = 128


def explain(pixels: Pixels, logits: Logits, ask: Callable[[Pixels], Logits]) -> str:
    """Draw the likeliest class's evidence over the photo: what counts is bright and red, what does not is dark.

    Args:
        pixels: What the network saw, uint8 RGB [side, side, 3].
        logits: What it answered [classes].
        ask: Answers for other pixels of that shape.

    Returns:
        A PNG of that shape, in base64.
    """
    picture = _draw(pixels, sensitivity(pixels, logits, ask))
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def sensitivity(pixels: Pixels, logits: Logits, ask: Callable[[Pixels], Logits]) -> npt.NDArray[np.float64]:
    """Measure how much each part of a photo adds to its likeliest class.

    Returns:
        [GRID, GRID]: by how much the class's log-odds fall when the part is covered, scaled to 0..1; all 0 where
        nothing lowers them.
    """
    best = int(logits.argmax())
    edges = np.linspace(0, len(pixels), GRID + 1).round().astype(int)
    falls = np.zeros((GRID, GRID))
    for row in range(GRID):
        for column in range(GRID):
            covered = pixels.copy()
            rows = slice(edges[max(0, row - 1)], edges[min(GRID, row + 2)])
            columns = slice(edges[max(0, column - 1)], edges[min(GRID, column + 2)])
            covered[rows, columns] = _GREY
            falls[row, column] = _log_odds(logits, best) - _log_odds(ask(covered), best)
    falls = falls.clip(min=0)
    return falls / falls.max() if falls.max() > 0 else falls


def _log_odds(logits: Logits, index: int) -> float:
    """The logarithm of p / (1 - p) of a class; unlike p it does not stand still where the model is sure."""
    others = np.delete(logits.astype(np.float64), index)
    return float(logits[index] - np.logaddexp.reduce(others)) if others.size else 0.0


def _draw(pixels: Pixels, evidence: npt.NDArray[np.float64]) -> Pixels:
    side = len(pixels)
    smooth = Image.fromarray(evidence.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    strength = np.asarray(smooth).clip(0, 1)[..., np.newaxis]
    shaded = pixels * (0.35 + 0.65 * strength)
    red = np.array([255, 40, 20])
    picture: Pixels = (shaded * (1 - 0.45 * strength) + red * 0.45 * strength).astype(np.uint8)
    return picture
