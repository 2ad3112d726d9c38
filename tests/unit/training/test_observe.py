from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from whippet_training.observe import Epoch, Observers, Step, StopTraining


class Recorder:
    def __init__(self, stop_at: int = -1) -> None:
        self.seen: list[object] = []
        self.stop_at = stop_at

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        self.seen.append((classes, list(class_counts)))

    def step(self, step: Step) -> None:
        self.seen.append(step)
        if step.number == self.stop_at:
            raise StopTraining(f"step {step.number}")

    def epoch(self, epoch: Epoch) -> None:
        self.seen.append(epoch)

    def finish(self) -> None:
        self.seen.append("finish")


def test_every_observer_sees_everything_in_order() -> None:
    recorders = [Recorder(), Recorder()]
    both = Observers(recorders)
    step, epoch = Step(0, 0, 1.0, 4, 0.1), Epoch(0, 1.0, 1.1, None, None, 0.1, 2.0)
    both.start(torch.nn.Linear(2, 2), 2, [3, 4])
    both.step(step)
    both.epoch(epoch)
    both.finish()
    assert recorders[0].seen == recorders[1].seen == [(2, [3, 4]), step, epoch, "finish"]


def test_an_observer_that_stops_the_training_hides_nothing_from_those_after_it() -> None:
    recorders = [Recorder(stop_at=3), Recorder()]
    with pytest.raises(StopTraining, match="step 3"):
        Observers(recorders).step(Step(3, 0, 1.0, 4, 0.1))
    assert len(recorders[1].seen) == 1
