from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.tuning import small_backbone
from whippet_training.augment import Augmentation, Mixing
from whippet_training.dataset import Photo, read_dataset
from whippet_training.inference import crop, decode, normalise
from whippet_training.loader import Batch, Photos, Workers, permutation, served_batches, share, training_batches

PREPROCESSING = small_backbone().preprocessing


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers(2)
    yield pool
    pool.close()


def training_photos(root: Path) -> list[Photo]:
    return [photo for photo in read_dataset(root).photos if photo.split == "train"]


def batches(root: Path, workers: Workers, memory: int | None = None, **more: int) -> list[Batch]:
    chosen = training_photos(root)
    photos = Photos(read_dataset(root).source, chosen, PREPROCESSING, memory)
    labels = list(range(len(chosen)))
    return [
        batch
        for epoch in (0, 1)
        for batch in training_batches(
            photos, labels, Augmentation(0.3, 0.2), Mixing(0.4, 1.0), 8, 0, epoch, workers, **more
        )
    ]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return all(torch.equal(one.photos, other.photos) for one, other in zip(first, second, strict=True))


def test_every_photo_comes_once_an_epoch_in_another_order(drawn: Path, workers: Workers) -> None:
    seen = [label for batch in batches(drawn, workers) for label in batch.labels.tolist()]
    first, second = seen[:30], seen[30:]
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


def test_what_comes_depends_neither_on_the_threads_nor_on_the_memory(drawn: Path, workers: Workers) -> None:
    usual = batches(drawn, workers)
    alone = Workers(1)
    try:
        assert same(usual, batches(drawn, alone))
    finally:
        alone.close()
    assert same(usual, batches(drawn, workers, memory=0))
    assert same(usual, batches(drawn, workers, memory=20_000))


def test_several_processes_together_see_what_one_sees(drawn: Path, workers: Workers) -> None:
    whole = batches(drawn, workers)
    parts = [batches(drawn, workers, rank=rank, processes=3) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.photos, torch.cat([one.photos for one in shares]))
        assert torch.equal(batch.labels, torch.cat([one.labels for one in shares]))
        assert torch.equal(batch.own, torch.cat([one.own for one in shares]))
        assert torch.equal(batch.positions, torch.cat([one.positions for one in shares]))


@pytest.mark.parametrize(("size", "processes"), [(8, 2), (7, 2), (1, 2), (3, 4), (32, 3)])
def test_a_batch_is_shared_out_in_whole_pairs(size: int, processes: int) -> None:
    parts = [share(size, rank, processes) for rank in range(processes)]
    assert [position for part in parts for position in part] == list(range(size))
    assert all(part.start % 2 == 0 for part in parts if part)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_a_training_can_begin_within_an_epoch(drawn: Path, workers: Workers) -> None:
    whole = batches(drawn, workers)
    rest = batches(drawn, workers, first=3)
    assert same(whole[3:4] + whole[7:8], rest)


def test_photos_that_cannot_be_read_are_left_out_and_told_of(data: Path, workers: Workers) -> None:
    (data / "train" / "bee" / "3.jpg").write_bytes(b"no photo")
    missing = data / "train" / "owl" / "2.jpg"
    chosen = training_photos(data)
    missing.unlink()
    photos = Photos(read_dataset(data).source, chosen, PREPROCESSING)
    found = list(training_batches(photos, [0] * 30, Augmentation(0.3, 0.2), Mixing(0.4, 1.0), 8, 0, 0, workers))
    assert sum(len(batch.labels) for batch in found) == 28
    assert [batch.size for batch in found] == [8, 8, 8, 6]
    assert photos.skipped["train/owl/2.jpg"] == "No such file or directory"
    assert "JPEG" in photos.skipped["train/bee/3.jpg"]
    for batch in found:
        assert len(batch.photos) == len(batch.labels) == len(batch.own) == len(batch.positions)
        mixed = batch.own < 1
        assert torch.equal(batch.partners[batch.partners[mixed]], torch.arange(len(batch.labels))[mixed])


def test_validation_photos_are_those_that_are_served(drawn: Path, workers: Workers) -> None:
    chosen = training_photos(drawn)[:5]
    source = read_dataset(drawn).source
    for _ in range(2):  # from the file, and from memory
        ((photos, labels),) = served_batches(Photos(source, chosen, PREPROCESSING), range(5), range(5), 8, workers)
        for i, photo in enumerate(chosen):
            served = normalise(crop(decode(source.read(photo.file)), PREPROCESSING), PREPROCESSING)
            assert torch.equal(photos[i], torch.from_numpy(served[0]))
        assert labels.tolist() == [0, 1, 2, 3, 4]


def test_workers_leave_the_threads_of_pytorch_as_they_are() -> None:
    threads = torch.get_num_threads()
    pool = Workers(3)
    try:
        assert torch.get_num_threads() == threads
        assert pool.submit(lambda number: torch.tensor(torch.get_num_threads()), 0).result() == 1
    finally:
        pool.close()


def test_another_seed_gives_another_order() -> None:
    assert permutation(30, 0, 0) != permutation(30, 1, 0)
