"""Small encoded pictures."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encodes a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64), **options: Any) -> bytes:
    """A JPEG of one colour."""
    return encode(Image.new("RGB", size, colour), "JPEG", **options)
