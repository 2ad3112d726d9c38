from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.photos import encode, jpeg
from support.signals import signal_stack
from whippet_training import inference
from whippet_training.inference import Model, PhotoError, Preprocessing, decode

PREPROCESSING = Preprocessing(36, 32, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RED, WHITE = (255, 0, 0), (255, 255, 255)
SECOND_FRAME = Image.new("RGB", (40, 60))


def corners(image: Image.Image) -> list[Any]:
    """The colours near the upper left and the lower right corner."""
    return [image.getpixel((4, 4)), image.getpixel((image.width - 5, image.height - 5))]


def half(mode: str, first: Any, second: Any, size: tuple[int, int] = (40, 60)) -> Image.Image:
    """A picture whose upper half has one colour and whose lower half has another."""
    image = Image.new(mode, size, second)
    image.paste(first, (0, 0, size[0], size[1] // 2))
    return image


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (half("RGB", RED, WHITE), "PNG", {}),
        (half("RGBA", (*RED, 255), (0, 0, 0, 0)), "PNG", {}),
        (half("RGB", RED, WHITE).quantize(8), "PNG", {}),
        (half("RGB", RED, WHITE), "WEBP", {"lossless": True}),
        (half("RGBA", (*RED, 255), (9, 9, 9, 0)), "WEBP", {"lossless": True, "exact": True}),
        (half("RGB", RED, WHITE), "WEBP", {"lossless": True, "save_all": True, "append_images": [SECOND_FRAME]}),
    ],
)
def test_every_kind_of_picture_becomes_rgb_on_white(image: Image.Image, kind: str, options: dict[str, Any]) -> None:
    decoded = decode(encode(image, kind, **options))
    assert decoded.mode == "RGB"
    assert corners(decoded) == [RED, WHITE]


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (half("L", 10, 200), "JPEG"),
        (half("L", 10, 200), "PNG"),
        (half("LA", (10, 255), (200, 255)), "PNG"),
        (half("I;16", 10 * 257, 200 * 257), "PNG"),
        (half("CMYK", (0, 0, 0, 245), (0, 0, 0, 55)), "JPEG"),
    ],
)
def test_greys_of_every_depth_keep_their_brightness(image: Image.Image, kind: str) -> None:
    dark, light = corners(decode(encode(image, kind)))
    assert np.abs(np.array([dark, light], dtype=int) - [[10] * 3, [200] * 3]).max() <= 3


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise
    decoded = decode(encode(half("RGB", RED, WHITE), "JPEG", exif=exif, quality=95))
    assert decoded.size == (60, 40)
    assert np.abs(np.array(decoded.getpixel((55, 5)), dtype=int) - RED).max() < 12


def test_a_request_with_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    """Each scan costs a pass over the whole photo, and this one has two thousand, in 60 kB."""
    photo = encode(Image.new("RGB", (64, 64), RED), "JPEG", progressive=True)
    scan = photo[photo.rindex(b"\xff\xda") : -2]
    hostile = photo[:-2] + 2000 * scan + photo[-2:]
    with pytest.raises(PhotoError, match="more than 32 scans") as refusal:
        inference.input_fn(hostile, "image/jpeg")
    assert refusal.value.status_code == 422
    assert inference.input_fn(photo, "image/jpeg").photo.size == (64, 64)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"hello", 415),
        (encode(Image.new("RGB", (9, 9)), "GIF"), 415),
        (jpeg(RED, (300, 300))[:-200], 422),
        (jpeg(RED)[:20], 422),
        (encode(Image.new("1", (8000, 8000)), "PNG"), 422),
        (encode(Image.new("1", (20000, 20000)), "PNG"), 422),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_status(data: bytes, status: int) -> None:
    with pytest.raises(PhotoError) as refused:
        decode(data)
    assert refused.value.status_code == status
    assert "0x" not in refused.value.message


class Context:
    """The container's request context, as far as the hooks use it."""

    def __init__(self, **headers: str) -> None:
        self.request_processor = [self]
        self.headers = headers
        self.status: tuple[int, str] | None = None

    def get_request_properties(self) -> dict[str, str]:
        return self.headers

    def set_response_status(self, code: int, phrase: str) -> None:
        self.status = (code, phrase)


@pytest.fixture
def model() -> Model:
    """Answers with the mean of each channel: red, green or blue."""
    document = {"classes": ["red", "green", "blue"], "id": "0" * 12, "name": "mean", "backbone": "none"}
    return Model(document, PREPROCESSING, lambda batch: batch.mean(axis=(2, 3)))


def answer(model: Model, body: bytes, content_type: str, context: Context | None = None) -> dict[str, Any]:
    request = inference.input_fn(body, content_type, context)
    text, _ = inference.output_fn(inference.predict_fn(request, model, context), "application/json", context)
    document: dict[str, Any] = json.loads(text)
    return document


def test_a_photo_and_its_base64_get_the_same_answer(model: Model) -> None:
    document = json.dumps({"image": base64.b64encode(jpeg(RED)).decode()}).encode()
    direct = answer(model, jpeg(RED), "image/jpeg")
    assert direct == answer(model, document, "application/json")
    assert direct["predictions"][0]["label"] == "red"
    assert sum(one["score"] for one in direct["predictions"]) == pytest.approx(1, abs=1e-5)
    assert direct["model"] == {"id": "0" * 12, "name": "mean", "backbone": "none"}


@pytest.mark.parametrize(("wanted", "count"), [("1", 1), ("2", 2), ("99", 3)])
def test_top_k_comes_with_the_custom_attributes(model: Model, wanted: str, count: int) -> None:
    context = Context(**{"X-Amzn-SageMaker-Custom-Attributes": f"top_k={wanted}"})
    assert len(answer(model, jpeg(RED), "image/jpeg", context)["predictions"]) == count


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "image/jpeg", 400),
        (b"{", "application/json", 400),
        (b'{"image": "%"}', "application/json", 400),
        (b'{"image": "aGVsbG8=", "top_k": 0}', "application/json", 415),
        (b"hello", "text/plain", 415),
        (b"hello", "", 415),
        (jpeg(RED, (200, 200))[:-100], "image/jpeg", 422),
    ],
)
def test_a_bad_request_is_a_problem_document_with_its_status(
    model: Model, body: bytes, content_type: str, status: int
) -> None:
    context = Context()
    document = answer(model, body, content_type, context)
    assert context.status is not None
    assert (context.status[0], document["status"]) == (status, status)
    assert "Traceback" not in document["detail"]


@pytest.mark.parametrize("hint", ["LATENCY", "THROUGHPUT"])
def test_openvino_leaves_the_stack_for_signals_as_it_is(tiny_model: Path, hint: str) -> None:
    before = signal_stack()
    compiled = inference.compile_openvino(tiny_model / "model.xml", hint)
    assert signal_stack() == before
    del compiled
    assert signal_stack() == before
