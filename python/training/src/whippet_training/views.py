"""Views of a photo: the centre crop that is served, and the varied ones that a head learns to be indifferent to.

PyTorch resizes here, in a quarter of Pillow's time, which resizes where a model is served. Both compute the same
filters in fixed point: about one value in 500 differs, by 1 of 255, rarely by 2.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from whippet_training.inference import INTERPOLATIONS, Pixels, Preprocessing, centre_square

SMALLEST_AREA = 0.5
"""Part of the photo that a random crop shows at least. A head on frozen features cannot make up for a dog cut in half,
so this is far above the 0.08 of networks that are trained from scratch."""

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop: the bounds of Szegedy et al. 2015 (arXiv 1409.4842), as in torchvision."""

_IN_TORCH = ("bilinear", "bicubic")
"""Interpolations that PyTorch computes as Pillow does, with antialiasing on uint8."""


def view(photo: Pixels, number: int, content: bytes, preprocessing: Preprocessing) -> Pixels:
    """Draws a view of a photo: the same for the same photo and number, wherever and whenever it is drawn.

    Args:
        photo: Decoded and upright, uint8 [H, W, 3].
        number: 0 is the centre crop, as served; 1 its mirror image; others are random crops, the odd ones mirrored.
        content: SHA-256 of the photo's file, from which the crop is drawn.
        preprocessing: Its size and interpolation.

    Returns:
        uint8 pixels [crop, crop, 3].
    """
    pixels = _centre_crop(photo, preprocessing) if number < 2 else _random_crop(photo, number, content, preprocessing)
    return pixels[:, ::-1] if number % 2 else pixels


def _centre_crop(photo: Pixels, preprocessing: Preprocessing) -> Pixels:
    left, top, right, bottom = centre_square((photo.shape[1], photo.shape[0]), preprocessing)
    return _resize(photo[top:bottom, left:right], preprocessing)


def _random_crop(photo: Pixels, number: int, content: bytes, preprocessing: Preprocessing) -> Pixels:
    area, aspect, across, down = _uniform(content, number)
    area = SMALLEST_AREA + (1 - SMALLEST_AREA) * area
    low, high = (math.log(bound) for bound in ASPECT)
    ratio = math.exp(low + (high - low) * aspect)
    all_height, all_width, _ = photo.shape
    pixels = all_width * all_height * area
    width = min(max(1, round(math.sqrt(pixels * ratio))), all_width)
    height = min(max(1, round(math.sqrt(pixels / ratio))), all_height)
    left, top = round((all_width - width) * across), round((all_height - height) * down)
    chosen = photo[top : top + height, left : left + width]
    return _resize(chosen, preprocessing)


def _resize(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """Resizes pixels [H, W, 3] to the network's input."""
    size = (preprocessing.crop, preprocessing.crop)
    if preprocessing.interpolation not in _IN_TORCH:
        return np.asarray(Image.fromarray(pixels).resize(size, INTERPOLATIONS[preprocessing.interpolation]))
    # Copied into a batch of one, whose strides tell PyTorch that channels come last; else it writes planes
    photo = torch.from_numpy(np.array([pixels])).permute(0, 3, 1, 2)
    resized = functional.interpolate(photo, size, mode=preprocessing.interpolation, antialias=True)
    result: Pixels = resized[0].permute(1, 2, 0).numpy()
    return result


def _uniform(content: bytes, number: int) -> list[float]:
    """Draws four numbers from 0 to 1 that depend on the photo and the view alone."""
    digest = hashlib.sha256(content + number.to_bytes(4, "little")).digest()
    return [int.from_bytes(digest[i : i + 8], "little") / 2**64 for i in range(0, 32, 8)]
