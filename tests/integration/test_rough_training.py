"""Training among files that are no sound photos, and on a disk that is full."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whippet_training.sample import Picture, draw

COUNT = 200
FLAGS = ("--backbone", "tf_efficientnet_lite0", "--image-size", "64", "--rule", "all=off")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 10), ("valid", 4), ("test", 4)):
        for animal in ("bee", "fish"):
            (root / split / animal).mkdir(parents=True)
            for number in range(count):
                (root / split / animal / f"{number}.jpg").write_bytes(draw(Picture(split, animal, number)))
    return root


def encoded(mode: str, format_: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, format_)
    return buffer.getvalue()


def damage(photo: bytes, rng: random.Random) -> bytes:
    """One of many ways in which a photo may be spoilt."""
    cut = rng.randrange(len(photo))
    spots = {rng.randrange(len(photo)) for _ in range(40)}
    ways: list[Callable[[], bytes]] = [
        lambda: photo[:cut],
        lambda: bytes(byte ^ 0x55 if place in spots else byte for place, byte in enumerate(photo)),
        lambda: photo[cut:] + photo[:cut],
        lambda: b"",
        lambda: rng.randbytes(5_000),
        lambda: b"<html>not found</html>",
        lambda: photo[:200] + photo,
        lambda: encoded("RGB", "GIF"),
        lambda: encoded("RGB", "BMP"),
        lambda: encoded("1", "PNG", (9_000, 9_000)),  # 81 megapixels in a few kilobytes
        lambda: b"\x89PNG\r\n\x1a\n" + rng.randbytes(100),
        lambda: b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM" + photo[2:],
    ]
    return rng.choice(ways)()


def strange(photos: Path, root: Path) -> int:
    """Copies photos and puts strange files among them; returns how many."""
    for path in photos.rglob("*.jpg"):
        target = root / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    rng = random.Random(5)
    folders = [root / split / animal for split in ("train", "valid", "test") for animal in ("bee", "fish")]
    for number in range(COUNT - 5):
        (rng.choice(folders) / f"odd{number}.{rng.choice(['jpg', 'jpeg', 'png', 'webp'])}").write_bytes(
            damage(draw(Picture("train", "bee", 100 + number)), rng)
        )
    folder = root / "train" / "bee"
    (folder / "nowhere.jpg").symlink_to("missing.jpg")
    (folder / "round.jpg").symlink_to("round.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "line\nbreak \udcff.jpg").write_bytes(b"neither a name nor a photo")
    (root / "test" / "fish" / "line\nbreak \udcff.jpg").write_bytes(draw(Picture("test", "fish", 77)))
    return COUNT


def train(photos: Path, folder: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def bounded() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "whippet_training.train", str(photos), "--out", str(folder / "run"), "--json", *FLAGS],
        env={**os.environ, "WHIPPET_CACHE": str(folder / "cache")},
        preexec_fn=bounded,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=100,
        check=False,
    )


def test_two_hundred_strange_files_among_the_photos_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    rough = tmp_path / "rough"
    strange(photos, rough)
    done = train(rough, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    skipped = {item["file"]: item["reason"] for item in report["skipped"]}
    assert all(skipped.values())
    used = sum(report["data"]["images"].values())
    assert used + len(skipped) >= 36 + COUNT - 4  # a folder, a pipe and two links need not count as photos
    assert len(skipped) > 100
    assert not [file for file in skipped if Path(file).stem.isdigit()]
    assert np.isfinite(report["test"]["loss"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "rough", "run"]


def test_a_disk_that_fills_while_features_are_cached_costs_the_cache_and_not_the_training(
    photos: Path, tmp_path: Path
) -> None:
    done = train(photos, tmp_path, limit=50_000)
    # what stops it is the archive, which does not fit either
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert len(told) == 2, told
    assert told[0].startswith("warning: features are no longer kept: File too large: ")
    assert told[1].startswith("error: model.xml cannot be written to ")
    assert told[1].endswith(": is the disk full?")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    again = train(photos, tmp_path)
    assert again.returncode == 0, again.stderr
    assert 0 < json.loads(again.stdout)["features"]["cached"] < 36
