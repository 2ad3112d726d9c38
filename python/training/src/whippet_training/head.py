"""The classifier's head: trained on cached features by AdamW, stopped early and chosen by the validation loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from whippet_training.errors import TrainingError
from whippet_training.inference import Floats
from whippet_training.observe import Epoch, Observer, Observers, Step, StopTraining
from whippet_training.profiling import phase
from whippet_training.settings import HeadSettings

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Photos that a head learns from or is measured on.

    Attributes:
        features: Of the centre crop, [N, width].
        labels: Class numbers [N].
        views: Features of further views of the same photos, [N, width] each.
    """

    features: Floats
    labels: Labels
    views: tuple[Floats, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Head:
    """Linear layers on raw features, with a ReLU between each two.

    Attributes:
        layers: Weight, float32 [out, in], and bias, float32 [out], of each layer; one layer makes the head linear.
    """

    layers: tuple[tuple[Floats, Floats], ...]

    def logits(self, features: Floats) -> Floats:
        """Answers for features [N, width]: logits [N, classes]."""
        values = features
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        return values

    def module(self) -> torch.nn.Sequential:
        """The head as a network."""
        steps: list[torch.nn.Module] = []
        for weight, bias in self.layers:
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())})
            steps += [*([torch.nn.ReLU()] if steps else []), layer]
        return torch.nn.Sequential(*steps)

    def divided(self, temperature: float) -> Head:
        """The head whose logits are these, divided by a temperature."""
        *lower, (weight, bias) = self.layers
        return Head((*lower, (weight / np.float32(temperature), bias / np.float32(temperature))))


@dataclass(frozen=True)
class Trial:
    """One training with one weight decay.

    Attributes:
        weight_decay: The one that was tried.
        epoch: The epoch, from 1, whose head had the lowest validation loss.
        train_loss: Mean cross-entropy per photo and epoch, while training.
        valid_loss: Mean cross-entropy per photo after each epoch.
        head: The head after the best epoch.
        stopped: Why an observer ended the training; None if none did.
    """

    weight_decay: float
    epoch: int
    train_loss: tuple[float, ...]
    valid_loss: tuple[float, ...]
    head: Head
    stopped: str | None = None


def train_heads(
    train: Examples,
    valid: Examples,
    classes: int,
    parameters: HeadSettings,
    seed: int,
    observer: Observer | None = None,
) -> Sequence[Trial]:
    """Trains a head per weight decay.

    The result depends on the arguments alone, to the last bit: one thread computes, so that no sum's order depends on
    the machine's cores or load, and the seed draws the order of the photos.

    Args:
        train: Training photos.
        valid: Validation photos; nothing else decides when to stop and which trial wins.
        classes: Number of classes.
        parameters: What to train with.
        seed: Of the order of the photos.
        observer: Watches one training after the other, and may end each.

    Returns:
        The trials, best first.

    Raises:
        TrainingError: If every training ends with a loss that is not a number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trials = [
            train_head(train, valid, classes, parameters, decay, seed, observer=observer)
            for decay in parameters.weight_decays
        ]
    finally:
        torch.set_num_threads(threads)
    best, *_ = trials = sorted(trials, key=lambda trial: _lowest(trial.valid_loss))
    if _lowest(best.valid_loss) == math.inf:
        raise TrainingError(
            f"The training diverged (its loss is not a number) at a learning rate of {parameters.learning_rate:g}: "
            f"lower it, --learning-rate {parameters.learning_rate / 10:g} for one."
        )
    return trials


def refit(train: Examples, valid: Examples, classes: int, parameters: HeadSettings, trial: Trial, seed: int) -> Head:
    """Trains once more, on the photos of training and validation together, for as long as the best trial needed.

    Nothing is left to stop or choose by then, and the head learns from every photo but the test split's.

    Args:
        train: Training photos.
        valid: Validation photos with as many views; the trial was chosen by them.
        classes: Number of classes.
        parameters: What the trial was trained with.
        trial: Says the weight decay and the number of epochs.
        seed: Of every random draw.
    """
    both = Examples(
        np.concatenate([train.features, valid.features]),
        np.concatenate([train.labels, valid.labels]),
        tuple(np.concatenate(views) for views in zip(train.views, valid.views, strict=True)),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_head(both, None, classes, replace(parameters, epochs=trial.epoch), trial.weight_decay, seed).head
    finally:
        torch.set_num_threads(threads)


def train_head(
    train: Examples,
    valid: Examples | None,
    classes: int,
    parameters: HeadSettings,
    weight_decay: float,
    seed: int,
    report: Callable[[int, float], None] = lambda epoch, valid_loss: None,
    observer: Observer | None = None,
) -> Trial:
    """Trains a head with one weight decay, in as many threads as PyTorch is set to.

    Args:
        train: Training photos.
        valid: Validation photos; nothing else decides when to stop. Without any, the last epoch counts.
        classes: Number of classes.
        parameters: What to train with; its weight decays do not count.
        weight_decay: AdamW's.
        seed: Of every random draw.
        report: Called with the number of each epoch, from 0, and the validation loss after it; what it raises ends the
            training.
        observer: Watches the training, and may end it; the best epoch until then is kept.

    Raises:
        TrainingError: If the observer ends the training before it has begun.
    """
    # Features are centred and brought to unit scale for the optimiser; the exported layer takes them raw.
    mean = train.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.maximum(train.features.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)
    inputs = torch.from_numpy(np.stack([(view - mean) / scale for view in (train.features, *train.views)]))
    targets = torch.from_numpy(train.labels)
    judged = train if valid is None else valid
    valid_inputs, valid_targets = torch.from_numpy((judged.features - mean) / scale), torch.from_numpy(judged.labels)

    draw = torch.Generator().manual_seed(seed)
    network = _network(inputs.shape[2], classes, parameters, draw)
    optimiser = torch.optim.AdamW(network.parameters(), lr=parameters.learning_rate, weight_decay=weight_decay)
    train_loss: list[float] = []
    valid_loss: list[float] = []
    best, best_state = 0, _state(network)
    watch = _Watch(observer or Observers(), parameters.learning_rate)
    try:
        watch.start(network, classes, train.labels)
        for epoch in range(parameters.epochs):
            for batch in torch.randperm(len(targets), generator=draw).split(parameters.batch_size):
                view = torch.randint(len(inputs), batch.shape, generator=draw) if len(inputs) > 1 else 0
                optimiser.zero_grad()
                with phase("forward"):
                    loss = functional.cross_entropy(
                        network(inputs[view, batch]), targets[batch], label_smoothing=parameters.label_smoothing
                    )
                with phase("backward"):
                    loss.backward()
                if watch.step(epoch, loss.item(), len(batch)):
                    break
                with phase("optimiser"):
                    optimiser.step()
            with torch.inference_mode(), phase("forward"):
                network.eval()
                answers = network(valid_inputs)
                valid_loss.append(functional.cross_entropy(answers, valid_targets).item())
                network.train()
            train_loss.append(watch.epoch(epoch, valid_loss[-1], answers, valid_targets))
            report(epoch, valid_loss[-1])
            if valid is None or valid_loss[-1] <= _lowest(valid_loss):
                best, best_state = epoch, _state(network)
            if watch.stopped or epoch - best >= parameters.patience:
                break
    finally:
        watch.finish()
    (weight, bias), *upper = best_state
    raw_weight = weight.double().numpy() / scale
    raw_bias = bias.double().numpy() - raw_weight @ mean
    layers = [(raw_weight.astype(np.float32), raw_bias.astype(np.float32))]
    layers += [(upper_weight.numpy(), upper_bias.numpy()) for upper_weight, upper_bias in upper]
    return Trial(weight_decay, best + 1, tuple(train_loss), tuple(valid_loss), Head(tuple(layers)), watch.stopped)


class _Watch:
    """Tells an observer of a training, and remembers why it wants it to end."""

    def __init__(self, observer: Observer, learning_rate: float) -> None:
        self._observer, self._learning_rate = observer, learning_rate
        self._steps = self._photos = 0
        self._loss = 0.0
        self._since = time.perf_counter()
        self.stopped: str | None = None

    def start(self, network: torch.nn.Module, classes: int, labels: Labels) -> None:
        try:
            self._observer.start(network, classes, np.bincount(labels, minlength=classes).tolist())
        except StopTraining as reason:
            raise TrainingError(f"Nothing was trained, as a rule asked to stop: {reason}") from None

    def step(self, epoch: int, loss: float, photos: int) -> bool:
        """Returns whether the training shall end before this step."""
        self._loss += loss * photos
        self._photos += photos
        try:
            self._observer.step(Step(self._steps, epoch, loss, photos, self._learning_rate))
        except StopTraining as reason:
            self.stopped = str(reason)
        self._steps += 1
        return self.stopped is not None

    def epoch(self, number: int, valid_loss: float, answers: torch.Tensor, labels: torch.Tensor) -> float:
        """Returns the epoch's mean training loss."""
        loss, now = self._loss / self._photos, time.perf_counter()
        top1 = float((answers.argmax(dim=1) == labels).float().mean())
        seconds = now - self._since
        try:
            self._observer.epoch(Epoch(number, loss, valid_loss, None, top1, self._learning_rate, seconds))
        except StopTraining as reason:
            self.stopped = self.stopped or str(reason)
        self._loss, self._photos, self._since = 0.0, 0, now
        return loss

    def finish(self) -> None:
        self._observer.finish()


def _lowest(losses: Sequence[float]) -> float:
    return min((loss for loss in losses if math.isfinite(loss)), default=math.inf)


class _Dropout(torch.nn.Module):
    """Dropout that draws from a generator of its own: torch.nn.Dropout draws from the process's."""

    def __init__(self, part: float, draw: torch.Generator) -> None:
        super().__init__()
        self._part, self._draw = part, draw

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return values
        return values * (torch.rand(values.shape, generator=self._draw) >= self._part) / (1 - self._part)


def _network(width: int, classes: int, parameters: HeadSettings, draw: torch.Generator) -> torch.nn.Sequential:
    sizes = [width, *([parameters.hidden] if parameters.hidden else []), classes]
    steps: list[torch.nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        if number:
            steps.append(torch.nn.ReLU())
        if parameters.dropout:
            steps.append(_Dropout(parameters.dropout, draw))
        layer = torch.nn.Linear(inputs, outputs)
        torch.nn.init.zeros_(layer.bias)
        if number == len(sizes) - 2:
            torch.nn.init.zeros_(layer.weight)
        else:
            torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=draw)
        steps.append(layer)
    return torch.nn.Sequential(*steps)


def _state(network: torch.nn.Sequential) -> list[tuple[torch.Tensor, torch.Tensor]]:
    linear = [step for step in network if isinstance(step, torch.nn.Linear)]
    return [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in linear]
