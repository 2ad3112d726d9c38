"""Views of a photo: the centre crop that is served, and the varied ones that a head learns to be indifferent to."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from PIL import Image

from whippet_training.inference import INTERPOLATIONS, Pixels, Preprocessing, crop

SMALLEST_AREA = 0.5
"""Part of the photo that a random crop shows at least. A head on frozen features cannot make up for a dog cut in half,
so this is far above the 0.08 of networks that are trained from scratch."""

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop: the bounds of Szegedy et al. 2015 (arXiv 1409.4842), as in torchvision."""


def view(photo: Image.Image, number: int, content: bytes, preprocessing: Preprocessing) -> Pixels:
    """Draws a view of a photo: the same for the same photo and number, wherever and whenever it is drawn.

    Args:
        photo: Decoded, upright RGB.
        number: 0 is the centre crop, as served; 1 its mirror image; others are random crops, the odd ones mirrored.
        content: SHA-256 of the photo's file, from which the crop is drawn.
        preprocessing: Its size and interpolation.

    Returns:
        uint8 pixels [crop, crop, 3].

    Raises:
        PhotoError: 422 if the photo is too narrow for a centre crop.
    """
    pixels = crop(photo, preprocessing) if number < 2 else _random_crop(photo, number, content, preprocessing)
    return pixels[:, ::-1] if number % 2 else pixels


def _random_crop(photo: Image.Image, number: int, content: bytes, preprocessing: Preprocessing) -> Pixels:
    area, aspect, across, down = _uniform(content, number)
    area = SMALLEST_AREA + (1 - SMALLEST_AREA) * area
    low, high = (math.log(bound) for bound in ASPECT)
    ratio = math.exp(low + (high - low) * aspect)
    pixels = photo.width * photo.height * area
    width = min(math.sqrt(pixels * ratio), photo.width)
    height = min(math.sqrt(pixels / ratio), photo.height)
    left, top = (photo.width - width) * across, (photo.height - height) * down
    side = preprocessing.crop
    box = (left, top, left + width, top + height)
    return np.asarray(photo.resize((side, side), INTERPOLATIONS[preprocessing.interpolation], box))


def _uniform(content: bytes, number: int) -> list[float]:
    """Draws four numbers from 0 to 1 that depend on the photo and the view alone."""
    digest = hashlib.sha256(content + number.to_bytes(4, "little")).digest()
    return [int.from_bytes(digest[i : i + 8], "little") / 2**64 for i in range(0, 32, 8)]
