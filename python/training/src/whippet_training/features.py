"""Turns photos into feature vectors: every picture once, whatever it is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import PIL

from whippet_training.backbones import Backbone
from whippet_training.cache import Entry, FeatureCache
from whippet_training.dataset import Photo, pixel_digest
from whippet_training.engines import Engine
from whippet_training.inference import Floats, PhotoError, Preprocessing, crop, decode, normalise


@dataclass(frozen=True)
class Extraction:
    """What became of the photos.

    Attributes:
        entries: Feature and pixel digest by content, of every photo that could be read.
        skipped: Why the others could not, by file.
        computed: Number of features that were not in the cache.
    """

    entries: dict[bytes, Entry]
    skipped: dict[str, str]
    computed: int


def cache_folder(root: Path, backbone: Backbone, engine: Engine) -> Path:
    """Names the folder of the features that this backbone, preprocessing, engine and decoder compute."""
    key = json.dumps(
        [backbone.weights, asdict(backbone.preprocessing), engine.name, f"pillow-{PIL.__version__}"], sort_keys=True
    )
    return root / "features" / f"{backbone.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def extract(
    root: Path,
    photos: Sequence[Photo],
    preprocessing: Preprocessing,
    engine: Engine,
    cache: FeatureCache,
    advance: Callable[[], None] = lambda: None,
) -> Extraction:
    """Computes the features of all photos that the cache does not hold.

    Args:
        root: The data folder.
        photos: Photos in it; copies are computed once.
        preprocessing: The backbone's.
        engine: Computes what is missing.
        cache: Is read first, and keeps what is computed as soon as it is.
        advance: Called for every photo that is done.
    """
    entries = cache.read({photo.content for photo in photos})
    missing = list({photo.content: photo for photo in photos if photo.content not in entries}.values())
    refused: dict[bytes, str] = {}
    digests: dict[int, bytes] = {}

    def prepare(number: int) -> Floats | None:
        photo = missing[number]
        try:
            image = decode((root / photo.file).read_bytes())
            digests[number] = pixel_digest(image)
            return normalise(crop(image, preprocessing), preprocessing)
        except PhotoError as error:
            refused[photo.content] = error.message
        except OSError as error:
            refused[photo.content] = error.strerror or str(error)
        advance()
        return None

    def keep(number: int, feature: Floats) -> None:
        content = missing[number].content
        entries[content] = Entry(digests[number], feature)
        cache.write(content, entries[content])
        advance()

    for _ in range(len(photos) - len(missing)):
        advance()
    if missing:
        engine.run(len(missing), prepare, keep)
    skipped = {photo.file: refused[photo.content] for photo in photos if photo.content in refused}
    return Extraction(entries, skipped, len(missing) - len(refused))
