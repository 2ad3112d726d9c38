from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from whippet_serving.engine import Logits
from whippet_serving.explanation import GRID, explain, sensitivity
from whippet_serving.photo import Pixels

BLACK = np.zeros((70, 70, 3), dtype=np.uint8)


def brightness_of(rows: slice, columns: slice, pixels: Pixels) -> Logits:
    """A network whose first class is as likely as one part of the photo is bright."""
    return np.array([pixels[rows, columns].mean() / 20, 1, 0], dtype=np.float32)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (6, 6)])
def test_finds_the_part_that_a_prediction_rests_on(row: int, column: int) -> None:
    where = slice(10 * row, 10 * row + 10), slice(10 * column, 10 * column + 10)
    pixels = BLACK.copy()
    pixels[where] = 255

    evidence = sensitivity(pixels, brightness_of(*where, pixels), lambda covered: brightness_of(*where, covered))

    assert evidence.shape == (GRID, GRID)
    assert evidence[row, column] == evidence.max() == 1
    away = [(r, c) for r in range(GRID) for c in range(GRID) if max(abs(r - row), abs(c - column)) > 1]
    assert all(evidence[place] == 0 for place in away)


def test_finds_nothing_where_nothing_counts() -> None:
    logits = np.array([1, 0], dtype=np.float32)

    assert not sensitivity(BLACK, logits, lambda _: logits).any()


def test_draws_what_counts_brighter_and_redder() -> None:
    where = slice(0, 10), slice(0, 10)
    pixels = np.full((70, 70, 3), 200, dtype=np.uint8)

    drawn = explain(pixels, brightness_of(*where, pixels), lambda covered: brightness_of(*where, covered))

    picture = np.asarray(Image.open(BytesIO(base64.b64decode(drawn)))).astype(int)
    assert picture.shape == pixels.shape
    red, green, _ = picture[5, 5]
    assert red > picture[60, 60, 0]
    assert red > green
    assert len(set(picture[60, 60])) == 1


def test_leaves_the_pixels_as_they_are() -> None:
    pixels = BLACK.copy()

    explain(pixels, np.array([1, 0], dtype=np.float32), lambda covered: np.array([0, 1], dtype=np.float32))

    np.testing.assert_array_equal(pixels, BLACK)
