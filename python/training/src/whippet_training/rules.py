"""Rules that watch a training for what goes wrong most often, as Amazon SageMaker Debugger's did.

Debugger is closed to new customers; these rules run inside the training. Its rules and their thresholds are at
https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html. Where a threshold here is another one,
the rule says why: Debugger's fire on many trainings that are well.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from whippet_training.observe import Epoch, Step
from whippet_training.probe import Activity


@dataclass(frozen=True)
class Signals:
    """What the network shows in a sampled step.

    Attributes:
        norm: Of all gradients together.
        gradients: Mean size of a gradient in each matrix or kernel, from input to output.
        activities: Of the activation layers.
        weights: Gives the matrices and kernels that are trained.
    """

    norm: float
    gradients: Mapping[str, float]
    activities: Sequence[Activity]
    weights: Callable[[], Mapping[str, torch.Tensor]]


class Rule:
    """One thing that can go wrong in a training.

    Its methods return what is wrong and what to do about it, or None. ``start`` begins another training.
    """

    name: ClassVar[str]
    action: ClassVar[str] = "warn"
    every_step: ClassVar[bool] = False
    """Whether it is asked in steps that are not sampled, too."""

    def start(self, classes: Sequence[str], class_counts: Sequence[int]) -> str | None:
        """A training begins on so many photos of these classes."""
        return None

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """Gradients are there; the signals are those of a sampled step."""
        return None

    def epoch(self, epoch: Epoch) -> str | None:
        """An epoch is over."""
        return None


@dataclass
class _Rule(Rule):
    """Keeps what most rules need: the number of classes, and the loss of guessing among them."""

    chance: float = field(default=0.0, init=False)
    classes: int = field(default=0, init=False)

    def start(self, classes: Sequence[str], class_counts: Sequence[int]) -> str | None:
        """See Rule."""
        self.classes = len(classes)
        self.chance = math.log(max(2, len(classes)))
        self._reset()
        return None

    def _reset(self) -> None:
        """Forgets the training before."""


@dataclass
class VanishingGradient(_Rule):
    """Layers that get next to no gradient while there is a loss to lower.

    Attributes:
        smallest: Mean size of a layer's gradients that is too small; Debugger's VanishingGradient has 1e-7 as well.
        samples: In a row: the layers below a head that starts at zero have no gradient in the first step.
        loss: Part of log(classes) below which gradients are small because little is left to learn.
    """

    name: ClassVar[str] = "vanishing-gradient"
    smallest: float = 1e-7
    samples: int = 3
    loss: float = 0.1

    def _reset(self) -> None:
        self._low: dict[str, int] = {}

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """See Rule."""
        if signals is None:
            return None
        learning = step.loss > self.loss * self.chance
        self._low = {
            name: self._low.get(name, 0) + 1
            for name, size in signals.gradients.items()
            if learning and size < self.smallest
        }
        vanished = [name for name, count in self._low.items() if count >= self.samples]
        if not vanished:
            return None
        return (
            f"{len(vanished)} of {len(signals.gradients)} layers get almost no gradient "
            f"({signals.gradients[vanished[0]]:.1g} on average in {vanished[0]}) and do not learn: use ReLU or GELU "
            "instead of sigmoid or tanh, normalisation or residual connections between layers, or fewer layers."
        )


@dataclass
class ExplodingGradient(_Rule):
    """A loss that is not a number, or gradients that outgrow those of the beginning while the model is worse than none.

    Attributes:
        growth: Of the gradients' norm over the largest of the first sampled steps. Gradients also grow tenfold where
            all is well, and clipping at a fixed norm (Pascanu et al. 2013, arXiv 1211.5063) depends on the network.
        first: Sampled steps that are the beginning.
    """

    name: ClassVar[str] = "exploding-gradient"
    action: ClassVar[str] = "stop"
    every_step: ClassVar[bool] = True
    growth: float = 100.0
    first: int = 5

    def _reset(self) -> None:
        self._norms: list[float] = []

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """See Rule."""
        if not math.isfinite(step.loss):
            return (
                f"the loss is {step.loss} at a learning rate of {step.learning_rate:g}, and nothing is learned from "
                "here on: lower the learning rate, or clip the gradients."
            )
        # Mixed precision meets infinite gradients while it looks for its scale, and skips those steps.
        if signals is None or not math.isfinite(signals.norm):
            return None
        if len(self._norms) < self.first:
            self._norms.append(signals.norm)
            return None
        growth = signals.norm / max(*self._norms, 1e-12)
        if growth < self.growth or step.loss < self.chance:
            return None
        return (
            f"the gradients are {growth:.0f} times as large as in the first steps and the loss is {step.loss:.3g}, "
            f"worse than guessing ({self.chance:.3g}): lower the learning rate ({step.learning_rate:g}), or clip the "
            "gradients."
        )

    def epoch(self, epoch: Epoch) -> str | None:
        """See Rule."""
        if math.isfinite(epoch.valid_loss):
            return None
        return (
            f"the validation loss is {epoch.valid_loss}: the weights are no longer numbers; lower the learning rate "
            f"({epoch.learning_rate:g})."
        )


@dataclass
class DeadUnits(_Rule):
    """Activation layers most of whose units answer zero to every photo, and so learn nothing.

    Attributes:
        part: Of a layer's units; Debugger's DeadRelu has 50 % as well.
        photos: Without an answer, in sampled steps, before a unit counts as dead: one that answers to 1 % of photos,
            Debugger's bound, then goes unseen with probability 0.99^300 = 5 %.
    """

    name: ClassVar[str] = "dead-units"
    part: float = 0.5
    photos: int = 300

    def _reset(self) -> None:
        self._awake: dict[str, torch.Tensor] = {}
        self._photos: dict[str, int] = {}

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """See Rule."""
        for seen in signals.activities if signals else ():
            layer = seen.layer
            if layer in self._awake and self._awake[layer].shape == seen.awake.shape:
                self._awake[layer] = self._awake[layer] | seen.awake
                self._photos[layer] += seen.photos
            else:
                self._awake[layer], self._photos[layer] = seen.awake, seen.photos
            if self._photos[layer] < self.photos:
                continue
            awake = self._awake.pop(layer)
            dead = 1 - float(awake.float().mean())
            if dead > self.part:
                return (
                    f"{dead:.0%} of the {len(awake)} units after {layer or 'the network'} answer zero to every photo "
                    f"and have stopped learning: lower the learning rate ({step.learning_rate:g}), or use LeakyReLU or "
                    "GELU."
                )
        return None


@dataclass
class Overfit(_Rule):
    """The validation loss rises from its lowest while the training loss still falls: photos are learned by heart.

    Validation photos that are classified better than at the lowest loss count for more than the loss.

    Debugger compares the two losses instead, which differ in every training that is well.

    Attributes:
        rise: Of the validation loss over its lowest: twice the 5 % of Prechelt 1998 ("Early stopping - but when?",
            class GL5), who stops there.
        floor: Part of log(classes) that it rises at least: near zero, 10 % is noise.
        fall: Of the training loss since that epoch.
        epochs: In a row.
    """

    name: ClassVar[str] = "overfit"
    rise: float = 0.1
    floor: float = 0.02
    fall: float = 0.1
    epochs: int = 3

    def _reset(self) -> None:
        self._best: Epoch | None = None
        self._count = 0

    def epoch(self, epoch: Epoch) -> str | None:
        """See Rule."""
        if self._best is None or epoch.valid_loss <= self._best.valid_loss:
            self._best, self._count = epoch, 0
            return None
        best = self._best
        risen = epoch.valid_loss - best.valid_loss > max(self.rise * best.valid_loss, self.floor * self.chance)
        fallen = epoch.train_loss < (1 - self.fall) * best.train_loss
        # With label smoothing or mixup the answers get less sure and the loss rises, while more of them become right.
        better = (epoch.valid_top1 or 0.0) > (best.valid_top1 or 0.0)
        self._count = self._count + 1 if risen and fallen and not better else 0
        if self._count < self.epochs:
            return None
        return (
            f"since epoch {best.number + 1} the validation loss has risen from {best.valid_loss:.3g} to "
            f"{epoch.valid_loss:.3g} while the training loss fell from {best.train_loss:.3g} to "
            f"{epoch.train_loss:.3g}: the photos are learned by heart. Use more photos, more views of each, weight "
            "decay, dropout or label smoothing, or a smaller network."
        )


@dataclass
class Overtraining(_Rule):
    """Training goes on for long after the best epoch.

    Attributes:
        epochs: Without a lower validation loss; Debugger's Overtraining has 10 as well.
    """

    name: ClassVar[str] = "overtraining"
    epochs: int = 10

    def _reset(self) -> None:
        self._best, self._number = math.inf, 0

    def epoch(self, epoch: Epoch) -> str | None:
        """See Rule."""
        if epoch.valid_loss < self._best:
            self._best, self._number = epoch.valid_loss, epoch.number
        if epoch.number - self._number < self.epochs:
            return None
        return (
            f"the validation loss has not been lower than {self._best:.3g} for {epoch.number - self._number} epochs, "
            f"since epoch {self._number + 1}: the rest is paid for nothing; lower --epochs or --patience."
        )


@dataclass
class PoorInitialisation(_Rule):
    """A network that starts far from an even guess, answers every photo alike, or whose units are copies of another.

    Attributes:
        excess: Part of log(classes), the loss of an even guess, by which the first loss is too high.
        least: The same in nats: with two classes, a batch's first loss is spread by half a nat where all is well.
        settled: Step by which units that started alike must differ.
        alike: Largest difference between a layer's units, as a part of its largest weight, that makes them copies.
    """

    name: ClassVar[str] = "poor-initialisation"
    excess: float = 0.5
    least: float = 1.0
    settled: int = 10
    alike: float = 1e-6

    def _reset(self) -> None:
        self._compared = False

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """See Rule."""
        if step.number == 0:
            return self._first(step, signals)
        if signals is None or self._compared or step.number < self.settled:
            return None
        self._compared = True
        copies = [name for name, weight in signals.weights().items() if self._symmetric(weight)]
        if not copies:
            return None
        return (
            f"all units of {copies[0]} hold the same weights after {step.number} steps and will always learn the same: "
            "start from random weights, as torch.nn.init.kaiming_uniform_ draws them."
        )

    def _first(self, step: Step, signals: Signals | None) -> str | None:
        if step.loss - self.chance > max(self.least, self.excess * self.chance):
            return (
                f"the first loss is {step.loss:.3g}, far above the {self.chance:.3g} of an even guess among "
                f"{self.classes} classes: the network starts out sure of wrong answers. Start the last layer near "
                "zero, and normalise its input."
            )
        silent = [one.layer for one in signals.activities if one.indifferent] if signals else []
        if silent:
            return (
                f"the layer {silent[0] or 'of the network'} answers the same to every photo from the start: its "
                "weights are zero, or its bias is so low that no unit wakes. Start from random weights and zero biases."
            )
        return None

    def _symmetric(self, weight: torch.Tensor) -> bool:
        if weight.grad is None or len(weight) < 2 or len(weight) == self.classes:
            return False
        values = weight.detach()
        return float((values - values[:1]).abs().amax()) <= self.alike * float(values.abs().amax())


@dataclass
class LossNotDecreasing(_Rule):
    """The training loss stays where it was in the first epoch, or rises again.

    Debugger asks for a loss that falls by 0.1 % in 10 steps; noise brings that about, and a training that has learned
    what there is need not.

    Attributes:
        epochs: Whose lowest loss counts.
        fall: Of the first epoch's loss that is wanted.
        rise: Over the lowest loss before that is too much.
        stuck: Part of log(classes) above which a loss that stays has learned nothing.
        high: The same for a loss that rises.
    """

    name: ClassVar[str] = "loss-not-decreasing"
    epochs: int = 5
    fall: float = 0.01
    rise: float = 0.2
    stuck: float = 0.75
    high: float = 0.5

    def _reset(self) -> None:
        self._losses: list[float] = []

    def epoch(self, epoch: Epoch) -> str | None:
        """See Rule."""
        self._losses.append(epoch.train_loss)
        if len(self._losses) <= self.epochs:
            return None
        before, recent = min(self._losses[: -self.epochs]), min(self._losses[-self.epochs :])
        stuck = recent > max((1 - self.fall) * self._losses[0], self.stuck * self.chance)
        risen = recent > max((1 + self.rise) * before, self.high * self.chance)
        if not (stuck or risen):
            return None
        return (
            f"the training loss has not fallen for {self.epochs} epochs ({before:.3g} before, {recent:.3g} since): "
            f"lower the learning rate ({epoch.learning_rate:g}) if the loss jumps about, else raise it or use a larger "
            "backbone; `whippet tune` finds both."
        )


@dataclass
class ChanceLevel(_Rule):
    """The loss sits at log(classes) or above: the model guesses.

    The learning rates from 0.011 up of the course that Whippet grew out of all ended here, and two of five people
    deployed the result.

    Attributes:
        loss: Part of log(classes) that counts as guessing; those trainings ended at 0.92 to 1.
        steps: At the full learning rate after which a network that learns has left it.
        photos: Of each class that it has seen by then.
        epochs: After which it has left it, however few steps they have.
        window: Steps whose mean loss counts.
    """

    name: ClassVar[str] = "chance-level"
    every_step: ClassVar[bool] = True
    loss: float = 0.9
    steps: int = 100
    photos: int = 20
    epochs: int = 10
    window: int = 50

    def _reset(self) -> None:
        self._rate = 0.0
        self._steps = self._photos = self._epochs = 0
        self._first = self._highest = -math.inf
        self._recent: deque[float] = deque(maxlen=self.window)

    def step(self, step: Step, signals: Signals | None) -> str | None:
        """See Rule."""
        if not math.isfinite(step.loss):
            return None
        if step.number == 0:
            self._first = step.loss
        if step.learning_rate > self._rate:  # a warm-up does not count
            self._rate, self._steps, self._photos, self._epochs = step.learning_rate, 0, 0, 0
            self._recent.clear()
        self._steps += 1
        self._photos += step.photos
        self._highest = max(self._highest, step.loss)
        self._recent.append(step.loss)
        if self._steps < self.steps or self._photos < self.photos * self.classes:
            return None
        return self._judge(sum(self._recent) / len(self._recent))

    def epoch(self, epoch: Epoch) -> str | None:
        """See Rule."""
        self._epochs += 1
        if self._epochs < self.epochs:
            return None
        return self._judge(min(epoch.train_loss, epoch.valid_loss))

    def _judge(self, loss: float) -> str | None:
        if not loss >= self.loss * self.chance:
            return None
        if self._highest > 1.5 * max(self._first, self.chance):
            cause = f"the loss jumped to {self._highest:.3g}, so the learning rate is too high; try {self._rate / 10:g}"
        else:
            cause = (
                "the learning rate is too high or far too low, or the photos do not show their classes; try "
                f"{self._rate / 10:g} and {self._rate * 10:g}"
            )
        return (
            f"the loss is {loss:.3g} after {self._steps} steps at a learning rate of {self._rate:g}, no better than "
            f"guessing among {self.classes} classes ({self.chance:.3g}): {cause}."
        )


@dataclass
class ClassImbalance(Rule):
    """Some classes have many times the photos of others, and will be answered too often.

    Attributes:
        ratio: Of the largest class to the smallest; Debugger's ClassImbalance has 10 as well.
    """

    name: ClassVar[str] = "class-imbalance"
    ratio: float = 10.0

    def start(self, classes: Sequence[str], class_counts: Sequence[int]) -> str | None:
        """See Rule."""
        largest, smallest = (pick(range(len(classes)), key=class_counts.__getitem__) for pick in (max, min))
        if class_counts[largest] < self.ratio * class_counts[smallest]:
            return None
        return (
            f"{classes[largest]} has {class_counts[largest]} training photos and {classes[smallest]} "
            f"{class_counts[smallest]}: the small classes will be overlooked. Add photos to them, and read the recall "
            "per class, not top-1 alone."
        )
