"""Turns photos into feature vectors: every view of every picture once, whatever it is called."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL

from whippet_training.backbones import Backbone
from whippet_training.cache import Entry, FeatureCache, Key
from whippet_training.dataset import Photo, pixel_digest
from whippet_training.engines import Engine
from whippet_training.inference import Floats, PhotoError, Pixels, decode
from whippet_training.profiling import phase
from whippet_training.sharding import Group, merge, shard
from whippet_training.source import Source
from whippet_training.views import view


@dataclass(frozen=True)
class Extraction:
    """What became of the photos.

    Attributes:
        entries: Feature and pixel digest of every view of every photo that could be read.
        skipped: Why the others could not, by file.
        computed: Number of features that were not in the cache.
        width: Length of a feature vector.
    """

    entries: dict[Key, Entry]
    skipped: dict[str, str]
    computed: int
    width: int

    def features(self, photos: Sequence[Photo], number: int = 0) -> Floats:
        """The features of one view of these photos, [N, width]."""
        features = [self.entries[photo.content, number].feature for photo in photos]
        return np.array(features, dtype=np.float32).reshape(len(photos), self.width)


_FORMAT = 3
"""Of what a cache folder holds; another one makes another folder."""


def cache_folder(root: Path, backbone: Backbone, engine: Engine) -> Path:
    """Names the folder of the features that this backbone, preprocessing, engine and decoder compute."""
    key = json.dumps(
        [_FORMAT, backbone.weights, asdict(backbone.preprocessing), engine.name, f"pillow-{PIL.__version__}"],
        sort_keys=True,
    )
    return root / "features" / f"{backbone.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def extract(
    source: Source,
    photos: Mapping[Photo, int],
    backbone: Backbone,
    engine: Engine,
    cache: FeatureCache,
    advance: Callable[[], None] = lambda: None,
    group: Group | None = None,
) -> Extraction:
    """Computes the features of all views that the cache does not hold.

    Of several processes each computes its part and gets the features of the others, so that all return the same.

    Args:
        source: Reads the photos; each that is missing is read once.
        photos: Photos in it, with the number of views wanted of each; copies are computed once.
        backbone: The network, for its preprocessing and width.
        engine: Computes what is missing.
        cache: Is read first, and keeps what is computed as soon as it is.
        advance: Called for every photo that is done here, or left to others.
        group: The processes that share the work; None is this one alone. All must call this, with the same photos.
    """
    wanted = {(photo.content, number): photo for photo, views in photos.items() for number in range(views)}
    with phase("io"):
        entries = cache.read(wanted.keys())
    gaps: dict[bytes, list[int]] = defaultdict(list)
    absent = wanted.keys() - entries.keys()
    own = _share(wanted.keys(), group)
    for content, number in absent:
        if own is None or content in own:
            gaps[content].append(number)
    missing = list({photo.content: photo for photo in photos if photo.content in gaps}.values())
    refused: dict[bytes, str] = {}
    digests: dict[int, bytes] = {}

    def prepare(number: int) -> list[Pixels] | None:
        photo = missing[number]
        try:
            with phase("io"):
                data = read(number)
            with phase("decode"):
                pixels = np.asarray(decode(data))
                digests[number] = pixel_digest(pixels)
            with phase("transform"):
                return [view(pixels, i, photo.content, backbone.preprocessing) for i in sorted(gaps[photo.content])]
        except PhotoError as error:
            refused[photo.content] = error.message
        except OSError as error:
            refused[photo.content] = error.strerror or str(error)
        advance()
        return None

    def keep(number: int, features: Floats) -> None:
        content = missing[number].content
        digest = digests.pop(number)
        for i, feature in zip(sorted(gaps[content]), features, strict=True):
            entries[content, i] = Entry(digest, feature)
            with phase("io"):
                cache.write((content, i), entries[content, i])
        advance()

    for _ in range(len(photos) - len(missing)):
        advance()
    if missing:
        with source.reader([photo.file for photo in missing]) as read:
            engine.run(len(missing), prepare, keep)
    computed = sum(len(numbers) for content, numbers in gaps.items() if content not in refused)
    if group is not None and own is not None:
        # What some cache lacks is handed over by the one process whose part it is, also where its own cache has it.
        asked = set().union(*group.gather(absent))
        handed = {key: entries[key] for key in asked & entries.keys() if key[0] in own}
        parts = group.gather((handed, refused, computed))
        entries |= merge([part for part, *_ in parts])
        refused = merge([part for _, part, _ in parts])
        computed = sum(part for *_, part in parts)
    skipped = {photo.file: refused[photo.content] for photo in photos if photo.content in refused}
    return Extraction(entries, skipped, computed, backbone.width)


def _share(wanted: Set[Key], group: Group | None) -> frozenset[bytes] | None:
    """The contents that this process computes; None is all of them."""
    if group is None or group.size == 1:
        return None
    return frozenset(shard(Counter(content for content, _ in wanted), group.rank, group.size))
