from __future__ import annotations

import threading

import numpy as np
import pytest

from whippet_serving.networks import Logits, Pixels, Runner
from whippet_serving.warm_up import tune


class Simulated:
    """A network whose calls take as long as a table says, by a clock that only they move."""

    def __init__(self, seconds: dict[tuple[int, int], float], batches: bool = False) -> None:
        self.seconds = seconds
        self.batches = batches
        self.divides = True
        self.now = 0.0
        self.prepared: list[tuple[int, int]] = []
        self.lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def runner(self, streams: int, batch: int) -> Runner:
        self.prepared.append((streams, batch))

        def answer(photos: Pixels) -> Logits:
            with self.lock:  # callers at once share the time of a call
                self.now += self.seconds[streams, batch] / streams
            return np.zeros((len(photos), 2), dtype=np.float32)

        return answer


@pytest.mark.parametrize(
    ("all_cores", "core_each", "streams"),
    [(0.003, 0.005, 2), (0.003, 0.0065, 2), (0.003, 0.009, 1)],
)
def test_takes_a_stream_for_each_core_unless_fewer_are_much_faster(
    all_cores: float, core_each: float, streams: int
) -> None:
    network = Simulated({(1, 1): all_cores, (2, 1): core_each})

    tuned = tune(network, side=4, threads=2, streams=None, batch=None, until=10, clock=network.clock)

    assert tuned.best.streams == streams
    assert tuned.alone_s == pytest.approx(all_cores)


@pytest.mark.parametrize(("of_eight", "batch"), [(0.02, 8), (0.05, 1)])
def test_takes_batches_where_they_pay(of_eight: float, batch: int) -> None:
    network = Simulated({(1, 1): 0.005, (1, 8): of_eight, (1, 32): 1.0}, batches=True)

    tuned = tune(network, side=4, threads=1, streams=None, batch=None, until=10, clock=network.clock)

    assert tuned.best.batch == batch


def test_what_is_fixed_is_not_tried_otherwise() -> None:
    network = Simulated({(3, 4): 0.01, (3, 1): 0.005}, batches=True)

    tuned = tune(network, side=4, threads=8, streams=3, batch=4, until=10, clock=network.clock)

    assert (tuned.best.streams, tuned.best.batch) == (3, 4)
    assert network.prepared == [(3, 4), (3, 1)]


def test_ends_when_its_time_is_up_with_the_usual_way() -> None:
    network = Simulated({(1, 1): 0.001, (4, 1): 0.4, (8, 1): 0.4})

    tuned = tune(network, side=4, threads=8, streams=None, batch=None, until=0.04, clock=network.clock)

    assert tuned.best.streams == 8
    assert (4, 1) not in network.prepared


def test_prepares_but_does_not_measure_where_there_is_no_time() -> None:
    network = Simulated({(1, 1): 0.003, (2, 1): 0.005})

    tuned = tune(network, side=4, threads=2, streams=None, batch=None, until=0, clock=network.clock)

    assert (tuned.best.streams, tuned.best.rate) == (2, 0)
    assert sorted(network.prepared) == [(1, 1), (2, 1)]
