from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.photos import jpeg
from whippet_training.sample import Picture, draw

CLASSES = ("bee", "fish", "owl")
SIZES = {"train": 10, "valid": 4, "test": 4}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, SPLIT/CLASS/*.jpg; not to be changed."""
    root = tmp_path_factory.mktemp("drawn")
    for split, count in SIZES.items():
        for animal in CLASSES:
            (root / split / animal).mkdir(parents=True)
            for number in range(count):
                (root / split / animal / f"{number}.jpg").write_bytes(draw(Picture(split, animal, number)))
    return root


@pytest.fixture
def data(drawn: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that the tests compute once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Twenty pictures of each of two classes, without splits."""
    root = tmp_path / "plain"
    for shade, label in ((0, "dark"), (128, "light")):
        (root / label).mkdir(parents=True)
        for number in range(20):
            (root / label / f"{number}.jpg").write_bytes(jpeg((shade + number * 5, shade, number), (80, 96)))
    return root
