from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from whippet_training.errors import TrainingError
from whippet_training.sample import ANIMALS, Picture, draw, draw_sample, pictures


def test_the_set_has_enough_classes_and_pictures() -> None:
    counts = Counter(picture.animal for picture in pictures())
    assert len(counts) >= 6
    assert min(counts.values()) >= 60


def test_a_picture_is_always_the_same_and_no_two_are_alike() -> None:
    some = [Picture(split, animal, number) for split in ("train", "test") for animal in ANIMALS for number in (0, 1)]
    first = [hashlib.sha256(draw(picture)).hexdigest() for picture in some]
    assert first == [hashlib.sha256(draw(picture)).hexdigest() for picture in some]
    assert len(set(first)) == len(some)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whippet_training.sample.SPLIT_SIZES", {"train": 2, "test": 1})


@pytest.mark.usefixtures("small")
def test_a_set_that_is_there_is_not_drawn_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    assert draw_sample(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    assert len(before) == 3 * len(ANIMALS)
    assert not draw_sample(folder)
    next(iter(before)).unlink()
    assert draw_sample(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.jpg")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


@pytest.mark.usefixtures("small")
def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/mine.jpg").write_bytes(b"x")
    with pytest.raises(TrainingError, match="not empty"):
        draw_sample(tmp_path / "photos")
    assert (tmp_path / "photos/mine.jpg").read_bytes() == b"x"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, number: signal.Signals, status: int) -> None:
    folder = tmp_path / "place" / "sample"
    process = subprocess.Popen(
        [sys.executable, "-m", "whippet_training.data", "sample", str(folder)], stderr=subprocess.DEVNULL
    )
    while not list(tmp_path.rglob("*.jpg")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == status
    assert not folder.exists()
    assert not list(tmp_path.rglob("*.jpg"))
