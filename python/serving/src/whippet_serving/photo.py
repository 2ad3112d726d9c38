"""Turns the bytes of a photo into the pixels that the network sees.

The operations and their order are those of training (``code/inference.py`` in the model archive), so that a photo gives
the same pixels here and there; ``tests/unit/serving/test_photo.py`` holds the two together.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from whippet_serving.archive import Preprocessing
from whippet_serving.problem import RequestError

Pixels = npt.NDArray[np.uint8]
"""RGB pixels [height, width, 3]."""

MAX_PIXELS = 50_000_000
"""Largest photo that is decoded: 50 megapixels take 150 MB as RGB, and no phone's default photo is larger."""

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")

_INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess(content: bytes, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a photo, resize its short side and crop its centre.

    Returns:
        uint8 RGB pixels [crop, crop, 3].

    Raises:
        RequestError: 415 if the bytes are not of a served type, 422 if the photo is damaged or too large.
    """
    return crop_centre(decode(content, max_pixels), preprocessing, max_pixels)


def decode(content: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photo to 8-bit RGB, upright, as a viewer would show it on a white page.

    Args:
        content: A JPEG, PNG or WebP file; of an animation the first frame counts.
        max_pixels: A photo with more pixels is refused from its header, before its pixels take memory.

    Raises:
        RequestError: 415 if the bytes are not of a served type, 422 if the photo is damaged or too large.
    """
    format_ = sniff(content)
    try:
        image: Image.Image = Image.open(BytesIO(content), formats=[format_])
        too_large = image.width * image.height > max_pixels
        if not too_large:
            image.load()
    except Image.DecompressionBombError:
        too_large = True
    except Exception as error:  # Pillow's parsers raise whatever damaged bytes make them meet
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The photo is damaged or cut short; send a complete file."
        ) from error
    if too_large:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The photo has more than {max_pixels / 1e6:g} megapixels; send a smaller one.",
        )
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # damaged metadata beside sound pixels: the photo is taken as it lies
        image.getexif().clear()
    return _to_rgb(image)


def sniff(content: bytes) -> str:
    """Name the format, as Pillow calls it, that a file's first bytes announce.

    Raises:
        RequestError: 415 if it is none of those served.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    raise RequestError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The content is not a JPEG, PNG or WebP photo; send one of these."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits at 255 instead of scaling them: 65535 / 255 = 257
        grey = (np.asarray(image, dtype=np.int64).clip(0, 65535) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        photo = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image


def crop_centre(image: Image.Image, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Resize the short side and crop the centre, with the rounding of torchvision's Resize and CenterCrop.

    Returns:
        uint8 RGB pixels [crop, crop, 3].

    Raises:
        RequestError: 422 if the photo is so narrow that resizing it would exceed ``max_pixels``.
    """
    width, height = image.size
    short = preprocessing.resize
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if size[0] * size[1] > max_pixels:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"A photo of {width} x {height} pixels is too narrow; send one closer to a square.",
        )
    side = preprocessing.crop
    left, top = round((size[0] - side) / 2.0), round((size[1] - side) / 2.0)
    resized = image.resize(size, _INTERPOLATIONS[preprocessing.interpolation])
    return np.asarray(resized.crop((left, top, left + side, top + side)))
