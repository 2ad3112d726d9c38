"""What watches a training: rules, trackers and the profile see every step and epoch, and may end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Step:
    """One step, seen after the backward pass and before the optimiser moves the weights.

    Attributes:
        number: Counted from 0 over the whole training.
        epoch: Counted from 0.
        loss: Mean per photo, in nats.
        photos: In the batch.
        learning_rate: Of the first group of parameters.
    """

    number: int
    epoch: int
    loss: float
    photos: int
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos.

    Attributes:
        number: Counted from 0.
        train_loss: Mean per photo while training, in nats.
        valid_loss: Mean per photo after the epoch, in nats.
        train_top1: Part of the photos that were classified correctly while training; None where it is not counted.
        valid_top1: The same of the validation photos after the epoch.
        learning_rate: In the epoch's last step.
        seconds: It took.
    """

    number: int
    train_loss: float
    valid_loss: float
    train_top1: float | None
    valid_top1: float | None
    learning_rate: float
    seconds: float


class StopTraining(Exception):  # noqa: N818 - it ends a training in order and is no failure
    """Raised by an observer to end a training; its message says why.

    The training ends in order: what it has learned up to its best epoch is kept.
    """


class Observer(Protocol):
    """Watches trainings, one after the other."""

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """A training begins.

        Args:
            module: The network; its parameters hold their gradients when ``step`` is called.
            classes: Number of classes.
            class_counts: Training photos of each class.
        """

    def step(self, step: Step) -> None:
        """Gradients are there, the weights have not moved yet."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is over and validated."""

    def finish(self) -> None:
        """The training is over, in whichever way; called once for every start."""


class Observers:
    """Several observers as one.

    Args:
        observers: Are called in this order. If some ask to stop, the others are still called, and the first one's
            reason counts.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """See Observer."""
        self._each(lambda observer: observer.start(module, classes, class_counts))

    def step(self, step: Step) -> None:
        """See Observer."""
        self._each(lambda observer: observer.step(step))

    def epoch(self, epoch: Epoch) -> None:
        """See Observer."""
        self._each(lambda observer: observer.epoch(epoch))

    def finish(self) -> None:
        """See Observer."""
        self._each(lambda observer: observer.finish())

    def _each(self, call: Callable[[Observer], None]) -> None:
        reason: StopTraining | None = None
        for observer in self._observers:
            try:
                call(observer)
            except StopTraining as stop:
                reason = reason or stop
        if reason:
            raise reason
