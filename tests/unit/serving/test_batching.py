from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from whippet_serving.batching import Batched
from whippet_serving.networks import Logits, Pixels


def photo(value: int) -> Pixels:
    return np.full((4, 4, 3), value, dtype=np.uint8)


class Recorder:
    """A network that answers with a photo's colour, fails for black, and waits in its first call until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, photos: Pixels) -> Logits:
        self.batches.append([int(one[0, 0, 0]) for one in photos])
        self.entered.set()
        assert self.let_go.wait(60)
        if 0 in self.batches[-1]:
            raise ValueError("black")
        return photos[:, 0, 0, :1].astype(np.float32)


def wait_for(engine: Batched, waiting: int) -> None:
    while len(engine._queue) < waiting:
        threading.Event().wait(0.001)


def test_photos_that_wait_together_go_in_one_call_and_each_gets_its_own_answer() -> None:
    network = Recorder()
    engine = Batched("recorder", network, size=4)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(engine, photo(1), alone=True)
        assert network.entered.wait(60)
        others = [pool.submit(engine, photo(value), alone=False) for value in range(2, 8)]
        wait_for(engine, 6)
        network.let_go.set()
        answers = [float(future.result(60)[0]) for future in (first, *others)]

    assert answers == list(range(1, 8))
    assert [len(batch) for batch in network.batches] == [1, 4, 2]


def test_a_photo_that_fails_does_not_fail_the_others_of_its_batch() -> None:
    network = Recorder()
    engine = Batched("recorder", network, size=4)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(engine, photo(1), alone=True)
        assert network.entered.wait(60)
        others = {value: pool.submit(engine, photo(value), alone=False) for value in (0, 2, 3)}
        wait_for(engine, 3)
        network.let_go.set()
        assert [float(others[value].result(60)[0]) for value in (2, 3)] == [2, 3]
        with pytest.raises(ValueError, match="black"):
            others[0].result(60)
        assert float(first.result(60)[0]) == 1

    assert float(engine(photo(9), alone=True)[0]) == 9


def test_a_window_gathers_a_full_batch() -> None:
    network = Recorder()
    network.let_go.set()
    engine = Batched("recorder", network, size=3, window_s=60.0)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda value: float(engine(photo(value), alone=False)[0]), (1, 2, 3)))

    assert answers == [1, 2, 3]
    assert [sorted(batch) for batch in network.batches] == [[1, 2, 3]]


def test_a_photo_that_is_alone_waits_for_no_window() -> None:
    network = Recorder()
    network.let_go.set()

    assert float(Batched("recorder", network, size=3, window_s=3600.0)(photo(5), alone=True)[0]) == 5


def test_many_callers_get_their_own_answers() -> None:
    engine = Batched("sum", lambda photos: photos[:, 0, 0, :1].astype(np.float32), size=5, window_s=0.0001)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda value: float(engine(photo(value % 256), alone=False)[0]), range(2000)))

    assert answers == [float(value % 256) for value in range(2000)]
