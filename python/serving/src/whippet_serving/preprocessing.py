from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """What the network expects of a photo.

    Attributes:
        resize: Short side in pixels after resizing.
        crop: Side of the centre crop in pixels.
        interpolation: nearest, bilinear, bicubic or lanczos.
        mean: Subtracted per channel, on the scale 0..1.
        std: Divides per channel.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
