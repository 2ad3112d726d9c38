from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from whippet_serving import resampling
from whippet_serving.resampling import Box, resize

FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}
WHOLE: Box = (0, 0, 301, 224)
PARTS: list[Box] = [(38, 0, 262, 224), (38.25, 0.5, 261.5, 223.75), (0, 20.125, 180, 200.125), (100, 100, 101, 101)]


def picture(width: int = 301, height: int = 224) -> Image.Image:
    """Hard edges and detail at every scale."""
    rng = np.random.default_rng(0)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((width, height), 0))
        for side in (5, 37, 150)
    ]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("side", [32, 224, 288, 500])
@pytest.mark.parametrize("box", [WHOLE, *PARTS])
def test_gives_pillows_pixels_but_for_rounding(interpolation: str, side: int, box: Box) -> None:
    expected = np.asarray(picture().resize((side, side), FILTERS[interpolation], box)).astype(int)

    pixels = resize(picture(), box, side, interpolation)

    assert (pixels.dtype, pixels.shape) == (np.uint8, (side, side, 3))
    difference = np.abs(pixels - expected)
    assert difference.max() <= 4
    assert (difference > 0).mean() <= 0.05
    assert (difference > 1).mean() <= 0.001


def test_resizes_photos_that_pillow_keeps_in_several_blocks_of_memory() -> None:
    large = picture(5003, 3999)
    expected = np.asarray(large.resize((288, 288), Image.Resampling.BICUBIC)).astype(int)

    assert np.abs(resize(large, (0, 0, 5003, 3999), 288, "bicubic") - expected).max() <= 2


@pytest.mark.parametrize("interpolation", FILTERS)
def test_is_pillows_own_where_the_package_is_missing(interpolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "cykooz_resizer", None)
    expected = np.asarray(picture().resize((64, 64), FILTERS[interpolation], PARTS[1]))

    np.testing.assert_array_equal(resize(picture(), PARTS[1], 64, interpolation), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("size", [(1, 5_000_000), (5_000_000, 1)])
def test_a_sliver_takes_no_memory_for_what_is_not_seen_of_it(size: tuple[int, int]) -> None:
    middle = (max(size) - 1) // 2
    box = (0, middle, 1, middle + 1) if size[0] == 1 else (middle, 0, middle + 1, 1)
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({2**28}, {2**28}))\n"
        "from PIL import Image; from whippet_serving.resampling import resize\n"
        f"pixels = resize(Image.new('RGB', {size}, 'red'), {box}, 288, 'bicubic')\n"
        "assert (pixels == (255, 0, 0)).all()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"OPENBLAS_NUM_THREADS": "1"}, timeout=60)
