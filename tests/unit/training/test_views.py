from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from whippet_training.inference import Pixels, Preprocessing, crop
from whippet_training.views import SMALLEST_AREA, view

PREPROCESSING = Preprocessing(resize=72, crop=64, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
CONTENT = hashlib.sha256(b"photo").digest()


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """Red grows to the right, green downwards: a pixel's colour tells where it lay."""
    across, down = np.meshgrid(np.linspace(0, 255, 120), np.linspace(0, 255, 90))
    return np.stack([across, down, np.zeros_like(across)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(120, 90), (90, 120), (64, 64), (31, 47), (1, 1), (800, 600), (73, 72)])
def test_the_first_view_is_what_is_served_to_a_level_or_two_and_the_second_its_mirror_image(
    size: tuple[int, int], interpolation: str
) -> None:
    preprocessing = replace(PREPROCESSING, interpolation=interpolation)
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    photo = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    served = crop(photo, preprocessing).astype(int)
    shown = view(np.asarray(photo), 0, CONTENT, preprocessing)
    assert np.abs(served - shown).max() <= 2
    assert (served != shown).mean() < 0.15
    np.testing.assert_array_equal(view(np.asarray(photo), 1, CONTENT, preprocessing), shown[:, ::-1])


def test_a_sliver_of_a_photo_has_a_view() -> None:
    assert view(np.full((1, 60_000, 3), 7, np.uint8), 0, CONTENT, PREPROCESSING).tolist() == [[[7] * 3] * 64] * 64


def test_a_view_is_always_the_same_and_unlike_the_others(photo: Pixels) -> None:
    views = [view(photo, number, CONTENT, PREPROCESSING) for number in range(8)]
    for number, pixels in enumerate(views):
        assert pixels.shape == (64, 64, 3)
        np.testing.assert_array_equal(pixels, view(photo.copy(), number, CONTENT, PREPROCESSING))
    assert len({pixels.tobytes() for pixels in views}) == 8
    other = hashlib.sha256(b"another photo").digest()
    assert view(photo, 2, other, PREPROCESSING).tobytes() != views[2].tobytes()


def test_random_crops_show_enough_of_the_photo_and_every_other_one_is_mirrored(photo: Pixels) -> None:
    for number in range(2, 40):
        pixels = view(photo, number, CONTENT, PREPROCESSING).astype(float)
        across = (pixels[:, -1, 0] - pixels[:, 0, 0]).mean() / 255
        down = (pixels[-1, :, 1] - pixels[0, :, 1]).mean() / 255
        assert abs(across) * down >= SMALLEST_AREA * 0.9
        assert (across < 0) == (number % 2 == 1)
