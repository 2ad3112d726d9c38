from __future__ import annotations

import struct
import zlib
from http import HTTPStatus
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from whippet_serving import photo, resampling
from whippet_serving.photo import Photo, crop_centre, preprocess
from whippet_serving.preprocessing import Preprocessing
from whippet_serving.problem import RequestError

PREPROCESSING = Preprocessing(resize=36, crop=32, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
RED, GREEN, BLUE, GREY = (220, 20, 30), (20, 200, 40), (30, 40, 210), (128, 128, 128)


def decode(content: bytes, max_pixels: int = photo.MAX_PIXELS) -> Image.Image:
    return photo.decode(content, max_pixels).image


def quadrants(width: int = 96, height: int = 64) -> Image.Image:
    """Red, green; blue, grey: every rotation and reflection looks different."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(GREY, (width // 2, height // 2, width, height))
    return image


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def corners(image: Image.Image) -> list[str]:
    """Names the colours near the corners: top left, top right, bottom left, bottom right."""
    names = {"red": RED, "green": GREEN, "blue": BLUE, "grey": GREY}
    width, height = image.size
    points = [(8, 8), (width - 9, 8), (8, height - 9), (width - 9, height - 9)]
    pixels = np.asarray(image).astype(int)
    return [min(names, key=lambda name: abs(pixels[y, x] - names[name]).sum()) for x, y in points]


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_decodes_every_served_format(format_: str) -> None:
    image = decode(encode(quadrants(), format_))

    assert (image.mode, image.size) == ("RGB", (96, 64))
    assert corners(image) == ["red", "green", "blue", "grey"]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, ["red", "green", "blue", "grey"]),
        (2, ["green", "red", "grey", "blue"]),
        (3, ["grey", "blue", "green", "red"]),
        (4, ["blue", "grey", "red", "green"]),
        (5, ["red", "blue", "green", "grey"]),
        (6, ["blue", "red", "grey", "green"]),
        (7, ["grey", "green", "blue", "red"]),
        (8, ["green", "grey", "red", "blue"]),
    ],
)
def test_turns_the_photo_upright_by_its_exif_orientation(format_: str, orientation: int, shown: list[str]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation

    image = decode(encode(quadrants(), format_, exif=exif))

    assert corners(image) == shown
    assert image.size == ((64, 96) if orientation >= 5 else (96, 64))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_takes_a_photo_with_damaged_exif_as_it_lies() -> None:
    assert corners(decode(encode(quadrants(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))) == [
        "red",
        "green",
        "blue",
        "grey",
    ]


@pytest.mark.parametrize(
    ("mode", "format_"), [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("I;16", "PNG"), ("L", "WEBP")]
)
def test_shows_grey_pictures_as_grey_rgb(mode: str, format_: str) -> None:
    ramp = np.tile(np.array([0, 255], dtype=np.uint8).repeat(32), (64, 1))
    grey = Image.fromarray(ramp)
    image = Image.fromarray(ramp.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)

    pixels = np.asarray(decode(encode(image, format_))).astype(int)

    assert pixels.shape == (64, 64, 3)
    np.testing.assert_allclose(pixels[:, :24], 0, atol=3)
    np.testing.assert_allclose(pixels[:, 40:], 255, atol=3)


def test_scales_16_bits_to_8_without_clipping() -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)

    pixels = np.asarray(decode(encode(Image.fromarray(values), "PNG")))

    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_decodes_palette_pictures() -> None:
    assert corners(decode(encode(quadrants().quantize(8), "PNG"))) == ["red", "green", "blue", "grey"]


def test_decodes_cmyk_pictures() -> None:
    assert corners(decode(encode(quadrants().convert("CMYK"), "JPEG"))) == ["red", "green", "blue", "grey"]


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_lays_transparent_pictures_on_white(format_: str) -> None:
    image = quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 48, 32))

    pixels = np.asarray(decode(encode(image, format_, lossless=True)))

    assert pixels[16, 16].tolist() == [255, 255, 255]
    assert pixels[50, 90].tolist() == list(GREY)


def test_lays_palettes_with_a_transparent_colour_on_white() -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 32, 64))

    pixels = np.asarray(decode(encode(image, "PNG", transparency=0)))

    assert pixels[5, 5].tolist() == [255, 255, 255]
    assert pixels[5, 60].tolist() == list(RED)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_takes_the_first_frame_of_an_animation(format_: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (GREEN, RED, BLUE)]

    content = encode(frames[0], format_, save_all=True, append_images=frames[1:], duration=100, lossless=True)

    assert corners(decode(content)) == ["green"] * 4


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a" + bytes(50), b"<svg/>", b"hello", bytes(100), encode(quadrants(), "BMP"), b"RIFF\0\0\0\0WAVEfmt "],
    ids=["nothing", "gif", "svg", "text", "zeros", "bmp", "wave"],
)
def test_refuses_what_is_not_of_a_served_type(content: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        decode(content)

    assert refusal.value.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_refuses_truncated_photos(format_: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encode(noise, format_)

    with pytest.raises(RequestError) as refusal:
        decode(content[: int(len(content) * kept)])

    assert refusal.value.status is HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("side", [101, 100_000], ids=["over the limit", "over Pillow's own limit"])
def test_refuses_a_decompression_bomb_before_its_pixels_take_memory(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(image: Image.Image) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)

    with pytest.raises(RequestError, match="megapixels") as refusal:
        decode(png_header(side, side), max_pixels=10_000)

    assert refusal.value.status is HTTPStatus.UNPROCESSABLE_ENTITY


def test_takes_a_sliver_of_a_photo_without_much_memory() -> None:
    sliver = encode(Image.new("RGB", (60_000, 1), RED), "PNG")

    pixels = preprocess(sliver, PREPROCESSING)

    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(RED)]


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (91, 147), (500, 375), (113, 112), (75, 74)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_shows_to_a_pixel_what_torchvision_shows(size: tuple[int, int], interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    ramps = np.stack([across, down, np.zeros_like(across)], axis=2) * 255 / max(size)
    image = Image.fromarray(ramps.astype(np.uint8))
    mode = transforms.InterpolationMode(interpolation)
    expected = transforms.CenterCrop(64)(transforms.Resize(73, mode)(image))

    pixels = crop_centre(Photo(image, image.size), Preprocessing(73, 64, interpolation, (0.5,) * 3, (0.5,) * 3))

    pixel = 255 / max(size) * max(1, min(size) / 73)  # of the photo or of the network's input, the larger one
    away = np.abs(pixels.astype(float) - np.asarray(expected))
    assert away.mean() <= pixel
    assert away.max() <= 2 * pixel + 2


def test_shows_the_whole_short_side_where_the_crop_is_larger_than_the_resized_photo() -> None:
    image = quadrants()
    pixels = crop_centre(Photo(image, image.size), Preprocessing(28, 32, "bicubic", (0.5,) * 3, (0.5,) * 3))

    whole = crop_centre(Photo(image, image.size), Preprocessing(32, 32, "bicubic", (0.5,) * 3, (0.5,) * 3))
    np.testing.assert_array_equal(pixels, whole)


def large_photo(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG with detail at every scale, and much larger than the network's input."""
    rng = np.random.default_rng(0)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((width, height)))
        for side in (4, 16, 64)
    ]
    return encode(Image.fromarray(np.mean(layers, axis=0).astype(np.uint8)).convert(mode), "JPEG", **options)


LARGE = [((1283, 1027), "RGB", orientation) for orientation in range(1, 9)]
LARGE += [(size, "RGB", 1) for size in ((1024, 1024), (1025, 2053), (2051, 4101))]
LARGE += [((1283, 1027), mode, 1) for mode in ("L", "CMYK")]


@pytest.mark.parametrize(("size", "mode", "orientation"), LARGE)
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(size: tuple[int, int], mode: str, orientation: int) -> None:
    preprocessing = Preprocessing(256, 224, "bicubic", (0.5,) * 3, (0.5,) * 3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = large_photo(*size, mode, exif=exif)

    reduced = photo.decode(content, short_side=256)
    pixels = preprocess(content, preprocessing)

    assert reduced.size == photo.decode(content).size
    assert 2 * 256 <= min(reduced.image.size) < 4 * 256
    difference = np.abs(pixels.astype(int) - crop_centre(photo.decode(content), preprocessing))
    assert difference.mean() <= 0.5
    assert difference.max() <= 5


def test_a_jpeg_is_not_reduced_below_twice_what_the_network_needs() -> None:
    assert photo.decode(large_photo(1024, 1023), short_side=256).image.size == (1024, 1023)


def test_a_file_of_many_scans_is_refused_before_it_is_decoded() -> None:
    content = large_photo(640, 480, progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    assert decode(content).size == (640, 480)

    with pytest.raises(RequestError, match="scans") as refusal:
        decode(content[:-2] + scan * 40 + content[-2:])

    assert refusal.value.status is HTTPStatus.UNPROCESSABLE_ENTITY


class TestTrainingsPreprocessing:
    """Training decodes with the hooks that it packs into the archive: both sides must see the same pixels."""

    @pytest.fixture
    def hooks(self) -> ModuleType:
        return pytest.importorskip("whippet_training.inference")

    def pixels_in_training(self, hooks: ModuleType, content: bytes) -> npt.NDArray[np.uint8]:
        preprocessing = hooks.Preprocessing(
            PREPROCESSING.resize,
            PREPROCESSING.crop,
            PREPROCESSING.interpolation,
            PREPROCESSING.mean,
            PREPROCESSING.std,
        )
        pixels: npt.NDArray[np.uint8] = hooks.crop(hooks.decode(content), preprocessing)
        return pixels

    @pytest.mark.parametrize(
        ("mode", "format_"),
        [
            ("RGB", "JPEG"),
            ("L", "JPEG"),
            ("CMYK", "JPEG"),
            ("RGB", "PNG"),
            ("L", "PNG"),
            ("1", "PNG"),
            ("P", "PNG"),
            ("LA", "PNG"),
            ("RGBA", "PNG"),
            ("I;16", "PNG"),
            ("RGB", "WEBP"),
            ("RGBA", "WEBP"),
        ],
    )
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_gives_the_same_pixels(self, hooks: ModuleType, mode: str, format_: str, orientation: int) -> None:
        rng = np.random.default_rng(2)
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, (51, 77), dtype=np.uint16))
        else:
            image = Image.fromarray(rng.integers(0, 256, (51, 77, 4), dtype=np.uint8))
            image = image if mode == "RGBA" else image.convert("RGB" if mode == "CMYK" else mode).convert(mode)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        content = encode(image, format_, exif=exif)

        difference = preprocess(content, PREPROCESSING).astype(int) - self.pixels_in_training(hooks, content)
        assert np.abs(difference).max() <= 1  # the rounding of another way to resize

    def test_gives_the_very_same_pixels_where_pillow_resizes(
        self, hooks: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resampling, "cykooz_resizer", None)
        content = encode(Image.fromarray(np.random.default_rng(2).integers(0, 256, (51, 77, 3), np.uint8)), "JPEG")

        np.testing.assert_array_equal(preprocess(content, PREPROCESSING), self.pixels_in_training(hooks, content))
