from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from whippet_serving.archive import Archive
from whippet_serving.engine import Engine, Logits
from whippet_serving.explanation import explain
from whippet_serving.photo import Pixels


@dataclass(frozen=True)
class Answer:
    """What the model says of a photo, and what that took.

    Attributes:
        document: ``{"predictions": [{"label", "score"}, ...], "model": {"id", "name", "backbone"}}``, best first; the
            scores are softmax probabilities. With ``"explanation"``, a PNG in base64, where one was asked for.
        decoding_s: Seconds from the file to pixels.
        inferring_s: Seconds from pixels to scores.
    """

    document: dict[str, Any]
    decoding_s: float
    inferring_s: float


class Classifier:
    """A model that is ready to answer. Several threads may ask it at once.

    Args:
        archive: Names the classes.
        engine: The network.
        decode: Turns a photo's file into the pixels that the network sees.
    """

    def __init__(self, archive: Archive, engine: Engine, decode: Callable[[bytes], Pixels]) -> None:
        self.archive = archive
        self.engine = engine
        self._decode = decode
        self._busy = 0
        self._lock = threading.Lock()
        self._model = {"id": archive.id, "name": archive.name, "backbone": archive.backbone}

    def classify(self, content: bytes, top_k: int, explained: bool = False) -> Answer:
        """Answer for one photo.

        Args:
            content: A JPEG, PNG or WebP file.
            top_k: How many predictions to return at most.
            explained: Show what the first prediction rests on as well; as much work as some fifty photos.

        Raises:
            RequestError: If the photo cannot be decoded.
        """
        start = time.perf_counter()
        with self._working() as alone:
            pixels = self._decode(content)
            decoded = time.perf_counter()
            logits = self.engine(pixels, alone)
            inferred = time.perf_counter()
            document = {"predictions": rank(logits, self.archive.classes, top_k), "model": self._model}
            if explained:
                document["explanation"] = explain(pixels, logits, lambda part: self.engine(part, alone))
        return Answer(document, decoded - start, inferred - decoded)

    @contextmanager
    def _working(self) -> Iterator[bool]:
        with self._lock:
            self._busy += 1
            alone = self._busy == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._busy -= 1


def rank(logits: Logits, classes: Sequence[str], top_k: int) -> list[dict[str, str | float]]:
    """Return the ``top_k`` likeliest classes with their softmax probabilities, best first; of equals the first wins."""
    exponentials = np.exp(logits - logits.max(), dtype=np.float64)
    scores = exponentials / exponentials.sum()
    best = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": classes[i], "score": round(float(scores[i]), 6)} for i in best]
