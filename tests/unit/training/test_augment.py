from __future__ import annotations

import numpy as np
import pytest
import torch

from whippet_training.augment import Augmentation, Mixing, augmented, generator
from whippet_training.inference import Preprocessing, normalise

PREPROCESSING = Preprocessing(40, 32, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_random_numbers_depend_on_the_counters_alone() -> None:
    first = generator(3, 1, 2, 5).random(4)
    assert np.array_equal(first, generator(3, 1, 2, 5).random(4))
    others = [generator(*numbers).random(4) for numbers in ((4, 1, 2, 5), (3, 0, 2, 5), (3, 1, 3, 5), (3, 1, 2, 6))]
    assert not any(np.array_equal(first, other) for other in others)


def test_a_view_has_the_networks_size_and_differs_with_the_draw() -> None:
    views = [augmented(PIXELS, Augmentation(0.3, 0.2), PREPROCESSING, generator(0, 1, i)) for i in (0, 0, 1)]
    assert views[0].shape == (3, 32, 32)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_without_changes_a_view_is_the_normalised_photo_or_its_mirror_image() -> None:
    square = PIXELS[:32, :32]

    class Whole:  # draws the whole photo with an aspect ratio of one
        def __init__(self, mirror: float) -> None:
            self.mirror = mirror

        def random(self, count: int) -> np.ndarray:
            return np.array([1.0, 0.5, 0.5, 0.5, self.mirror, 0.5, 0.5, 0.5][:count])

    plain = torch.from_numpy(normalise(square, PREPROCESSING)[0])
    for mirror, expected in ((0.9, plain), (0.1, plain.flip(-1))):
        for colour in (0.0, 0.4):  # a change of nought through either way of computing it
            view = augmented(square, Augmentation(1.0, colour), PREPROCESSING, Whole(mirror))  # type: ignore[arg-type]
            assert torch.allclose(view, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("factors", "change"),
    [
        ((1.0, 0.5, 0.5), lambda photo, grey: photo * 1.2),
        ((0.5, 1.0, 0.5), lambda photo, grey: photo * 1.2 - 0.2 * grey.mean()),
        ((0.5, 0.5, 0.0), lambda photo, grey: photo * 0.8 + grey * 0.2),
    ],
)
def test_colours_change_as_defined(factors: tuple[float, float, float], change: object) -> None:
    square = PIXELS[:32, :32]

    class Fixed:
        def random(self, count: int) -> np.ndarray:
            return np.array([1.0, 0.5, 0.5, 0.5, 0.9, *factors])

    view = augmented(square, Augmentation(1.0, 0.2), PREPROCESSING, Fixed())  # type: ignore[arg-type]
    photo = square.astype(np.float64) / 255
    grey = (photo @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis]
    expected = (change(photo, grey) - PREPROCESSING.mean) / PREPROCESSING.std  # type: ignore[operator]
    assert np.allclose(view.permute(1, 2, 0).numpy(), expected, atol=1e-4)


def test_photos_are_blended_in_pairs_by_the_part_that_is_told() -> None:
    photos = torch.randn(5, 3, 8, 8)
    before = photos.clone()
    partners, own = Mixing(0.8, 0.0).apply(photos, [10, 11, 12, 13, 14], [True] * 5, 0, 0)
    assert partners.tolist() == [1, 0, 3, 2, 4]
    assert own[4] == 1
    for i in range(5):
        blend = own[i] * before[i] + (1 - own[i]) * before[partners[i]]
        assert torch.allclose(photos[i], blend, atol=1e-6)


def test_a_patch_is_swapped_whose_size_is_the_part_that_is_told() -> None:
    photos = torch.stack([torch.full((3, 16, 16), float(i)) for i in range(4)])
    partners, own = Mixing(0.0, 1.0).apply(photos, [0, 1, 2, 3], [True] * 4, 7, 0)
    assert 0 < own[0] < 1
    for i in range(4):
        assert set(photos[i].unique().tolist()) <= {float(i), float(partners[i])}
        assert float((photos[i] == i).float().mean()) == pytest.approx(float(own[i]))


def test_a_photo_whose_partner_cannot_be_read_stays_as_it_is() -> None:
    photos = torch.randn(2, 3, 8, 8)
    before = photos.clone()
    partners, own = Mixing(1.0, 1.0).apply(photos, [0, 1], [True, False], 0, 0)
    assert partners.tolist() == [0, 1]
    assert own.tolist() == [1, 1]
    assert torch.equal(photos, before)
