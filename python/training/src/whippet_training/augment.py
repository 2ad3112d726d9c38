"""Random changes of photos, drawn by counters: a photo's change depends on the seed, the epoch and the photo alone.

So neither the number of threads nor that of processes changes what a training sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from whippet_training.inference import INTERPOLATIONS, Pixels, Preprocessing
from whippet_training.views import ASPECT

_GREY = torch.tensor([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a pixel's brightness: ITU-R BT.601."""

_IN_TORCH = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Augmentation:
    """How much photos are changed.

    Attributes:
        smallest_area: Part of the photo that a crop shows at least.
        colour: Largest change of brightness, contrast and saturation.
    """

    smallest_area: float
    colour: float


def generator(seed: int, purpose: int, *counters: int) -> np.random.Generator:
    """Random numbers that depend on these numbers alone, at most three counters."""
    padded = [*counters, 0, 0, 0][:3]
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, *padded]))


PERMUTATION, PHOTO, MIXING, DROPOUT, BACKBONE, HEAD = range(6)
"""What random numbers are drawn for."""


def augmented(
    pixels: Pixels, augmentation: Augmentation, preprocessing: Preprocessing, draw: np.random.Generator
) -> torch.Tensor:
    """Crops, mirrors, recolours and normalises a photo at random.

    Args:
        pixels: uint8 [H, W, 3].
        augmentation: How much.
        preprocessing: The backbone's.
        draw: Of the photo and epoch.

    Returns:
        float32 [3, crop, crop], as the network takes it.
    """
    area, aspect, across, down, mirror, *factors = draw.random(8)
    height, width = pixels.shape[:2]
    wanted = width * height * (augmentation.smallest_area + (1 - augmentation.smallest_area) * area)
    low, high = (math.log(bound) for bound in ASPECT)
    ratio = math.exp(low + (high - low) * aspect)
    crop_width = min(max(1, round(math.sqrt(wanted * ratio))), width)
    crop_height = min(max(1, round(math.sqrt(wanted / ratio))), height)
    left, top = round((width - crop_width) * across), round((height - crop_height) * down)
    photo = _resized(pixels[top : top + crop_height, left : left + crop_width], preprocessing)
    if mirror < 0.5:
        photo = photo.flip(-1)
    return _recoloured(photo.float(), [1 + augmentation.colour * (2 * factor - 1) for factor in factors], preprocessing)


def _resized(pixels: Pixels, preprocessing: Preprocessing) -> torch.Tensor:
    side = preprocessing.crop
    if preprocessing.interpolation not in _IN_TORCH:
        resized = Image.fromarray(pixels).resize((side, side), INTERPOLATIONS[preprocessing.interpolation])
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    photo = torch.from_numpy(pixels).permute(2, 0, 1)[np.newaxis]
    return functional.interpolate(photo, (side, side), mode=preprocessing.interpolation, antialias=True)[0]


def _recoloured(photo: torch.Tensor, factors: list[float], preprocessing: Preprocessing) -> torch.Tensor:
    """Applies brightness, contrast, saturation and normalisation as one linear map of each pixel's colours."""
    brightness, contrast, saturation = factors
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    if factors == [1.0, 1.0, 1.0]:
        return photo.div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])
    grey = saturation * torch.eye(3) + (1 - saturation) * _GREY.expand(3, 3)
    middle = _GREY @ photo.mean(dim=(1, 2)) * brightness * (1 - contrast)
    matrix = grey * (brightness * contrast) / (255 * std[:, None])
    offset = (middle / 255 - mean) / std
    return torch.addmm(offset[:, None], matrix, photo.reshape(3, -1)).reshape(photo.shape)


@dataclass(frozen=True)
class Mixing:
    """How photos are mixed in pairs.

    Attributes:
        mixup: Alpha of mixup; 0 never blends.
        cutmix: Alpha of cutmix; 0 never cuts. With both, a pair is mixed in one of the two ways, by chance.
    """

    mixup: float
    cutmix: float

    def apply(
        self, photos: torch.Tensor, numbers: list[int], usable: list[bool], seed: int, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixes photo 0 with 1, 2 with 3 and so on, in place; a last odd one stays as it is.

        Args:
            photos: float32 [N, 3, H, W].
            numbers: Of the photos, [N].
            usable: Whether the photo is one; its partner stays as it is otherwise.
            seed: Of the training.
            epoch: In which they are seen.

        Returns:
            For each photo its partner's position, int64 [N], and its own part of the mix, float32 [N].
        """
        count = len(photos)
        partners, own = torch.arange(count), torch.ones(count)
        if not self.mixup and not self.cutmix:
            return partners, own
        for first in range(0, count - 1, 2):
            if not (usable[first] and usable[first + 1]):
                continue
            draw = generator(seed, MIXING, epoch, numbers[first], numbers[first + 1])
            cut = bool(self.cutmix) and (not self.mixup or draw.random() < 0.5)
            alpha = self.cutmix if cut else self.mixup
            part = float(draw.beta(alpha, alpha))
            pair = photos[first : first + 2]
            if cut:
                height, width = photos.shape[2:]
                tall, wide = round(height * math.sqrt(1 - part)), round(width * math.sqrt(1 - part))
                top, left = draw.integers(0, height - tall + 1), draw.integers(0, width - wide + 1)
                patch = pair[:, :, top : top + tall, left : left + wide]
                patch.copy_(patch.flip(0))
                part = 1 - tall * wide / (height * width)
            else:
                pair.copy_(pair * part + pair.flip(0) * (1 - part))
            partners[first], partners[first + 1] = first + 1, first
            own[first] = own[first + 1] = part
        return partners, own
