from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from whippet_serving.archive import Archive, open_archive
from whippet_serving.engine import Engine, EngineChoice, Logits, load_engine
from whippet_serving.photo import preprocess


class Classifier:
    """A model that is ready to answer. Several threads may ask it at once."""

    def __init__(self, archive: Archive, engine: Engine) -> None:
        self.archive = archive
        self.engine = engine
        self._busy = 0
        self._lock = threading.Lock()

    def classify(self, content: bytes, top_k: int) -> dict[str, Any]:
        """Answer for one photo.

        Args:
            content: A JPEG, PNG or WebP file.
            top_k: How many predictions to return at most.

        Returns:
            ``{"predictions": [{"label", "score"}, ...], "model": {"id", "name", "backbone"}}``, best first; the scores
            are softmax probabilities.

        Raises:
            RequestError: If the photo cannot be decoded.
        """
        with self._working() as alone:
            logits = self.engine(preprocess(content, self.archive.preprocessing), alone)
        return {
            "predictions": rank(logits, self.archive.classes, top_k),
            "model": {"id": self.archive.id, "name": self.archive.name, "backbone": self.archive.backbone},
        }

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


def load_classifier(path: Path, choice: EngineChoice, threads: int) -> Classifier:
    """Load a model archive and let it answer once.

    Args:
        path: A model.tar.gz, or the folder it was unpacked to.
        choice: The engine, or ``auto``.
        threads: How many cores the network may use.

    Raises:
        ModelError: If the model cannot be served.
    """
    with open_archive(path) as archive:
        return Classifier(archive, load_engine(archive, choice, threads))


def rank(logits: Logits, classes: Sequence[str], top_k: int) -> list[dict[str, str | float]]:
    """Return the ``top_k`` likeliest classes with their softmax probabilities, best first; of equals the first wins."""
    exponentials = np.exp(logits - logits.max(), dtype=np.float64)
    scores = exponentials / exponentials.sum()
    best = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": classes[i], "score": round(float(scores[i]), 6)} for i in best]
