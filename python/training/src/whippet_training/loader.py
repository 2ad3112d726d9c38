"""Photos for fine-tuning: decoded in threads ahead of the network, kept in memory as far as it goes."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from whippet_training.augment import PERMUTATION, PHOTO, Augmentation, Mixing, augmented, generator
from whippet_training.dataset import Photo
from whippet_training.errors import TrainingError
from whippet_training.inference import INTERPOLATIONS, PhotoError, Pixels, Preprocessing, crop, decode, normalise
from whippet_training.profiling import phase
from whippet_training.source import Source

_SPARE = 1.5
"""Short side of a photo that is kept, in sides of the crop: a random crop is rarely enlarged then."""

_AHEAD = 2
"""Batches that are prepared before the network wants them."""


@dataclass(frozen=True)
class Batch:
    """Photos of one process in one step.

    Attributes:
        photos: float32 [N, 3, crop, crop], normalised.
        labels: Class numbers, int64 [N].
        partners: Position of the photo that each is mixed with, int64 [N]; its own where it is not.
        own: The photo's own part of that mix, float32 [N].
        positions: In the batch of all processes, int64 [N].
        size: Photos in the batch of all processes, those that could not be read included.
    """

    photos: torch.Tensor
    labels: torch.Tensor
    partners: torch.Tensor
    own: torch.Tensor
    positions: torch.Tensor
    size: int


class Photos:
    """Decoded photos by their numbers; those that do not fit into memory are decoded again each time.

    Args:
        source: Reads their files.
        photos: In the order of their numbers.
        preprocessing: The backbone's.
        memory: Bytes to keep at most; None for a quarter of what is free.
    """

    def __init__(
        self, source: Source, photos: Sequence[Photo], preprocessing: Preprocessing, memory: int | None = None
    ) -> None:
        self._source, self._photos, self._preprocessing = source, photos, preprocessing
        self._memory = _free_memory() // 4 if memory is None else memory
        self._kept: dict[int, Pixels] = {}
        self._lock = threading.Lock()
        self.skipped: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._photos)

    def varied(self, number: int, augmentation: Augmentation, seed: int, epoch: int) -> torch.Tensor | None:
        """A random view of a photo, float32 [3, crop, crop]; None if it cannot be read."""
        pixels = self._pixels(number)
        if pixels is None:
            return None
        with phase("transform"):
            return augmented(pixels, augmentation, self._preprocessing, generator(seed, PHOTO, epoch, number))

    def served(self, number: int) -> torch.Tensor | None:
        """The view that is served, float32 [3, crop, crop]; None if the photo cannot be read."""
        pixels = self._pixels(number, self._centre)
        if pixels is None:
            return None
        with phase("transform"):
            return torch.from_numpy(normalise(pixels, self._preprocessing)[0])

    def _pixels(self, number: int, shape: Callable[[Image.Image], Pixels] | None = None) -> Pixels | None:
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        photo = self._photos[number]
        if photo.file in self.skipped:
            return None
        try:
            with phase("io"):
                data = self._source.read(photo.file)
            with phase("decode"):
                image = decode(data)
            with phase("transform"):
                pixels = (shape or self._shrunk)(image)
        except (PhotoError, OSError) as error:
            reason = error.message if isinstance(error, PhotoError) else error.strerror or str(error)
            self.skipped[photo.file] = reason
            return None
        with self._lock:
            if pixels.nbytes <= self._memory:
                self._memory -= pixels.nbytes
                self._kept[number] = pixels
        return pixels

    def _centre(self, image: Image.Image) -> Pixels:
        return np.array(crop(image, self._preprocessing))

    def _shrunk(self, image: Image.Image) -> Pixels:
        short = math.ceil(self._preprocessing.crop * _SPARE)
        part = short / min(image.size)
        if part < 1:
            size = (max(short, round(image.width * part)), max(short, round(image.height * part)))
            image = image.resize(size, INTERPOLATIONS[self._preprocessing.interpolation], reducing_gap=2.0)
        return np.array(image)


def _free_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):  # macOS does not say
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Workers:
    """Threads that prepare photos, each computing alone, so that they leave PyTorch's own threads to the network.

    Args:
        count: Threads.
    """

    def __init__(self, count: int) -> None:
        threads = torch.get_num_threads()
        ready = threading.Barrier(count + 1)

        def start() -> None:
            torch.get_num_threads()  # has PyTorch set this thread up, which would undo the next line later
            torch.set_num_threads(1)  # counts for this thread, and for threads that are started later
            ready.wait()

        self._pool = ThreadPoolExecutor(count, "whippet-photos", start)
        for _ in range(count):
            self._pool.submit(int)
        ready.wait()
        torch.set_num_threads(threads)

    def submit(self, work: Callable[[int], torch.Tensor | None], number: int) -> Future[torch.Tensor | None]:
        """Has a photo prepared."""
        return self._pool.submit(work, number)

    def close(self) -> None:
        """Ends the threads after what they are at."""
        self._pool.shutdown(cancel_futures=True)


def permutation(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the photos in an epoch."""
    order: list[int] = generator(seed, PERMUTATION, epoch).permutation(count).tolist()
    return order


def share(size: int, rank: int, processes: int) -> range:
    """Positions in a batch that one process takes: whole pairs, as photos are mixed in pairs."""
    pairs = (size + 1) // 2
    first, last = (min(size, 2 * (pairs * number // processes)) for number in (rank, rank + 1))
    return range(first, last)


def training_batches(
    photos: Photos,
    labels: Sequence[int],
    augmentation: Augmentation,
    mixing: Mixing,
    batch_size: int,
    seed: int,
    epoch: int,
    workers: Workers,
    first: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Batch]:
    """Yields a process's part of an epoch's batches.

    Args:
        photos: Of the training split.
        labels: Their class numbers.
        augmentation: How they are changed.
        mixing: How they are mixed.
        batch_size: Photos in a batch of all processes.
        seed: Of the training.
        epoch: From 0.
        workers: Prepare the photos.
        first: The batch to begin with.
        rank: Number of this process.
        processes: How many there are.
    """
    order = permutation(len(photos), seed, epoch)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)][first:]
    mine = [(share(len(batch), rank, processes), batch) for batch in batches]

    def prepare(number: int) -> torch.Tensor | None:
        return photos.varied(number, augmentation, seed, epoch)

    for (positions, batch), views in zip(
        mine, _ahead(workers, prepare, [[batch[i] for i in part] for part, batch in mine]), strict=True
    ):
        numbers = [batch[i] for i in positions]
        usable = [view is not None for view in views]
        stacked = _stack(views, photos)
        partners, own = mixing.apply(stacked, numbers, usable, seed, epoch)
        kept = torch.tensor(usable, dtype=torch.bool)
        # positions of partners move up where photos are left out
        moved = (torch.cumsum(kept, 0) - 1)[partners]
        yield Batch(
            stacked[kept] if not all(usable) else stacked,
            torch.tensor([labels[number] for number in numbers], dtype=torch.int64)[kept],
            moved[kept],
            own[kept],
            torch.tensor(list(positions), dtype=torch.int64)[kept],
            len(batch),
        )


def served_batches(
    photos: Photos, labels: Sequence[int], numbers: Sequence[int], batch_size: int, workers: Workers
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields photos as they are served, float32 [N, 3, crop, crop], with class numbers [N]."""
    batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
    for batch, views in zip(batches, _ahead(workers, photos.served, batches), strict=True):
        kept = [i for i, view in enumerate(views) if view is not None]
        if kept:
            yield _stack([views[i] for i in kept], photos), torch.tensor([labels[batch[i]] for i in kept])


def _ahead(
    workers: Workers, prepare: Callable[[int], torch.Tensor | None], batches: Sequence[Sequence[int]]
) -> Iterator[list[torch.Tensor | None]]:
    waiting: deque[list[Future[torch.Tensor | None]]] = deque()
    try:
        for batch in batches:
            waiting.append([workers.submit(prepare, number) for number in batch])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        for futures in waiting:
            for future in futures:
                future.cancel()


def _stack(views: Sequence[torch.Tensor | None], photos: Photos) -> torch.Tensor:
    side = photos._preprocessing.crop
    stacked = torch.zeros(len(views), 3, side, side)
    for place, view in zip(stacked, views, strict=True):
        if view is not None:
            place.copy_(view)
    return stacked


def refuse_unreadable(photos: Photos, split: str) -> None:
    """Ends a training none of whose photos can be read.

    Raises:
        TrainingError: If so.
    """
    if len(photos.skipped) >= len(photos):
        file, reason = next(iter(photos.skipped.items()), ("", "there is none"))
        raise TrainingError(f"No photo of the {split} split can be read ({file}: {reason}); run: whippet data check")
