"""Turns the bytes of a photo into the pixels that the network sees.

The operations and their order are those of training (``code/inference.py`` in the model archive), so that a photo gives
the same pixels here and there, with two exceptions. Resizing may round otherwise (`whippet_serving.resampling`). And a
JPEG that is many times as large as the network needs is decoded at a half, a quarter or an eighth of its size, which
libjpeg does in a fraction of the time and the memory: its pixels are then the same to half a step of 255 on average.
``tests/unit/serving/test_photo.py`` holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from whippet_serving.preprocessing import Preprocessing
from whippet_serving.problem import RequestError
from whippet_serving.resampling import resize

Pixels = npt.NDArray[np.uint8]
"""RGB pixels [height, width, 3]."""

MAX_PIXELS = 50_000_000
"""Largest photo that is decoded: 50 megapixels take 150 MB as RGB, and no phone's default photo is larger."""

MARGIN = 2
"""How many times the network's resolution a reduced photo still has. With less, libjpeg's way of reducing shows, and
scores move in their second digit."""

MAX_SCANS = 32
"""Most scans of a progressive JPEG. Encoders write about ten; each costs a pass over the whole photo, however few bytes
it has, so that a small file could keep a core busy for minutes."""

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")


def preprocess(content: bytes, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a photo, cut out its centre and resize it.

    Returns:
        uint8 RGB pixels [crop, crop, 3].

    Raises:
        RequestError: 415 if the bytes are not of a served type, 422 if the photo is damaged or too large.
    """
    return crop_centre(decode(content, max_pixels, preprocessing.resize), preprocessing)


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        image: 8-bit RGB.
        size: Width and height in the file's pixels; those of the image, unless it was reduced.
        origin: Column and row of the image, in the file's pixels, at which the photo begins. A reduced image may be a
            part of a pixel wider and higher than the photo, which lies at its end, or at its beginning once turned.
    """

    image: Image.Image
    size: tuple[int, int]
    origin: tuple[int, int] = (0, 0)


def decode(content: bytes, max_pixels: int = MAX_PIXELS, short_side: int | None = None) -> Photo:
    """Decode a photo, as a viewer would show it on a white page.

    Args:
        content: A JPEG, PNG or WebP file; of an animation the first frame counts.
        max_pixels: A photo with more pixels is refused from its header, before its pixels take memory.
        short_side: Pixels that are needed of the short side; a JPEG with many more may come reduced.

    Raises:
        RequestError: 415 if the bytes are not of a served type, 422 if the photo is damaged or too large.
    """
    format_ = sniff(content)
    if format_ == "JPEG" and content.count(b"\xff\xda") > MAX_SCANS:
        raise _refused(f"The photo has more than {MAX_SCANS} scans; save it again as a usual JPEG.")
    try:
        return _read(Image.open(BytesIO(content), formats=[format_]), max_pixels, short_side)
    except RequestError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except MemoryError:
        raise _refused("The photo takes too much memory to decode; send a smaller one.") from None
    except Exception as error:  # Pillow's parsers raise whatever damaged bytes make them meet
        raise _refused("The photo is damaged or cut short; send a complete file.") from error


def _read(image: Image.Image, max_pixels: int, short_side: int | None) -> Photo:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    if short_side:
        image.draft(None, (MARGIN * short_side, MARGIN * short_side))
    image.load()
    orientation = _turn_upright(image)
    if orientation in _LYING:
        width, height = height, width
    reduction = _reduction(image.size, (width, height))
    origin = (
        image.width * reduction - width if orientation in _FROM_THE_RIGHT else 0,
        image.height * reduction - height if orientation in _FROM_BELOW else 0,
    )
    return Photo(_to_rgb(image), (width, height), origin)


# what the file's first row and column are of the upright photo, by the value of the EXIF tag
_LYING = (5, 6, 7, 8)
_FROM_THE_RIGHT = (2, 3, 6, 7)
_FROM_BELOW = (3, 4, 7, 8)


def _turn_upright(image: Image.Image) -> int:
    """Turn and mirror an image as its EXIF orientation says, and return that."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # damaged metadata beside sound pixels: the photo is taken as it lies
        image.getexif().clear()
        return 1
    return orientation


def _reduction(reduced: tuple[int, int], size: tuple[int, int]) -> int:
    return round(max(whole / part for whole, part in zip(size, reduced, strict=True)))


def _too_large(max_pixels: int) -> RequestError:
    return _refused(f"The photo has more than {max_pixels / 1e6:g} megapixels; send a smaller one.")


def _refused(detail: str) -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


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


def crop_centre(photo: Photo, preprocessing: Preprocessing) -> Pixels:
    """Cut out a photo's centre and resize it.

    To a pixel this shows what torchvision's Resize and CenterCrop leave; cut out first, so that only it is resized.

    Returns:
        uint8 RGB pixels [crop, crop, 3].
    """
    width, height = photo.size
    short = min(width, height)
    side = min(max(1, round(short * preprocessing.crop / preprocessing.resize)), short)
    left, top = (width - side) // 2, (height - side) // 2
    image = photo.image
    if image.size == photo.size:
        whole = image.crop((left, top, left + side, top + side))
        return resize(whole, (0, 0, side, side), preprocessing.crop, preprocessing.interpolation)
    # cut at whole pixels of the reduced photo, the network's view would move
    reduction = _reduction(image.size, photo.size)
    left, top = left + photo.origin[0], top + photo.origin[1]
    box = (left / reduction, top / reduction, (left + side) / reduction, (top + side) / reduction)
    return resize(image, box, preprocessing.crop, preprocessing.interpolation)
