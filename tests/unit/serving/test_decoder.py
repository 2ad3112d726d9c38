from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whippet_serving.decoder import Decoder, Decoders
from whippet_serving.photo import preprocess
from whippet_serving.preprocessing import Preprocessing
from whippet_serving.priority import NICENESS
from whippet_serving.problem import RequestError

PREPROCESSING = Preprocessing(resize=36, crop=32, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)


def encode(image: Image.Image, format_: str = "JPEG") -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


PHOTO = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 47, 3), dtype=np.uint8)))


@pytest.fixture(scope="module")
def slow_photo() -> bytes:
    """A photo that takes seconds to decode: many scans of many pixels."""
    return encode(Image.new("RGB", (7000, 7000)), "PNG")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with closing(Decoder(PREPROCESSING)) as decoder:
        yield decoder


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_while_it_decodes(decoder: Decoder) -> None:
    pid = decoder.pid
    started = cpu_seconds(pid)
    while cpu_seconds(pid) < started + 0.05:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    while decoder.pid == pid:
        time.sleep(0.01)


def test_decodes_as_in_this_process(decoder: Decoder) -> None:
    np.testing.assert_array_equal(decoder(PHOTO), preprocess(PHOTO, PREPROCESSING))


@pytest.mark.parametrize(("content", "status"), [(b"no photo", 415), (PHOTO[:500], 422), (b"", 415)])
def test_says_what_is_wrong_with_a_photo(decoder: Decoder, content: bytes, status: int) -> None:
    with pytest.raises(RequestError) as here:
        preprocess(content, PREPROCESSING)
    with pytest.raises(RequestError) as there:
        decoder(content)

    assert (there.value.status, str(there.value)) == (here.value.status, str(here.value))
    assert there.value.status == status
    assert decoder(PHOTO).shape == (32, 32, 3)


def test_replaces_a_decoder_that_somebody_ended(decoder: Decoder) -> None:
    decoder(PHOTO)
    os.kill(decoder.pid, signal.SIGKILL)

    np.testing.assert_array_equal(decoder(PHOTO), preprocess(PHOTO, PREPROCESSING))


def test_decodes_a_photo_again_whose_decoder_was_ended(decoder: Decoder, slow_photo: bytes) -> None:
    decoder(PHOTO)
    with ThreadPoolExecutor(1) as caller:
        pixels = caller.submit(decoder, slow_photo)
        kill_while_it_decodes(decoder)

        assert pixels.result(60).shape == (32, 32, 3)


def test_refuses_a_photo_that_ends_its_decoder_twice_and_goes_on_with_others(slow_photo: bytes) -> None:
    with closing(Decoder(PREPROCESSING)) as decoder, ThreadPoolExecutor(1) as caller:
        decoder(PHOTO)
        pixels = caller.submit(decoder, slow_photo)
        kill_while_it_decodes(decoder)
        kill_while_it_decodes(decoder)

        with pytest.raises(RequestError, match="cannot be decoded") as refusal:
            pixels.result(60)
        assert refusal.value.status is HTTPStatus.UNPROCESSABLE_ENTITY
        assert decoder(PHOTO).shape == (32, 32, 3)


def test_refuses_a_photo_that_takes_too_long(slow_photo: bytes) -> None:
    with closing(Decoder(PREPROCESSING, seconds=0.05)) as decoder:
        with pytest.raises(RequestError, match=r"more than 0\.05 s") as refusal:
            decoder(slow_photo)

        assert refusal.value.status is HTTPStatus.UNPROCESSABLE_ENTITY
        assert decoder(PHOTO).shape == (32, 32, 3)


def test_knows_no_secret_and_can_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with closing(Decoder(PREPROCESSING)) as decoder:
        decoder(PHOTO)

        assert b"canary" not in Path(f"/proc/{decoder.pid}/environ").read_bytes()
        limits = dict(line.split("  ", 1) for line in Path(f"/proc/{decoder.pid}/limits").read_text().splitlines()[1:])
        for limit in ("Max open files", "Max file size", "Max processes"):
            assert limits[limit].split()[:2] == ["0", "0"], limit


def test_decodes_at_a_lower_priority_than_the_event_loops(decoder: Decoder) -> None:
    decoder(PHOTO)

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, decoder.pid) == min(19, own + NICENESS)


def test_leaves_no_process() -> None:
    decoder = Decoder(PREPROCESSING)
    pid = decoder.pid
    decoder.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_answers_each_of_many_threads_with_its_own_photo() -> None:
    colours = [(number * 8, 255 - number * 8, 100) for number in range(24)]
    photos = [encode(Image.new("RGB", (40, 40), colour), "PNG") for colour in colours]

    with closing(Decoders(2, PREPROCESSING)) as decoders, ThreadPoolExecutor(6) as callers:
        for _ in range(5):
            pixels = list(callers.map(decoders, photos))
            assert [tuple(one[0, 0].tolist()) for one in pixels] == colours


def test_takes_photos_larger_than_a_sockets_buffer(decoder: Decoder) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8))
    content = encode(noise, "PNG")
    assert len(content) > 4_000_000

    np.testing.assert_array_equal(decoder(content), preprocess(content, PREPROCESSING))
