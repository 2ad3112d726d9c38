"""The linear head: trained on cached features by mini-batch AdamW, stopped early and chosen by the validation loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from whippet_training.inference import Floats

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Features [N, width] and class numbers [N]."""

    features: Floats
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Hyperparameters:
    """What a head is trained with.

    Attributes:
        learning_rate: AdamW's.
        batch_size: Photos in a step.
        epochs: Passes over the training photos, at most.
        patience: Epochs without a lower validation loss that end the training.
        weight_decays: AdamW's; each is tried, the lowest validation loss wins.
        label_smoothing: Part of the target that is spread over all classes, in training only.
    """

    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 60
    patience: int = 6
    weight_decays: tuple[float, ...] = (1e-2, 1.0)
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Head:
    """A linear layer on raw features: logits = features @ weight.T + bias.

    Attributes:
        weight: float32 [classes, width].
        bias: float32 [classes].
    """

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Answers for features [N, width]: logits [N, classes]."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Trial:
    """One training with one weight decay.

    Attributes:
        weight_decay: The one that was tried.
        epoch: The epoch, from 1, whose head had the lowest validation loss.
        train_loss: Mean cross-entropy per photo and epoch, while training.
        valid_loss: Mean cross-entropy per photo after each epoch.
        head: The head after the best epoch.
    """

    weight_decay: float
    epoch: int
    train_loss: tuple[float, ...]
    valid_loss: tuple[float, ...]
    head: Head


def train_heads(
    train: Examples, valid: Examples, classes: int, parameters: Hyperparameters, seed: int
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

    Returns:
        The trials, best first.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trials = [_train(train, valid, classes, parameters, decay, seed) for decay in parameters.weight_decays]
    finally:
        torch.set_num_threads(threads)
    return sorted(trials, key=lambda trial: min(trial.valid_loss))


def _train(
    train: Examples, valid: Examples, classes: int, parameters: Hyperparameters, weight_decay: float, seed: int
) -> Trial:
    # Features are centred and brought to unit scale for the optimiser; the exported layer takes them raw.
    mean = train.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.maximum(train.features.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)
    inputs, targets = torch.from_numpy((train.features - mean) / scale), torch.from_numpy(train.labels)
    valid_inputs, valid_targets = torch.from_numpy((valid.features - mean) / scale), torch.from_numpy(valid.labels)

    layer = torch.nn.Linear(train.features.shape[1], classes)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=parameters.learning_rate, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    train_loss: list[float] = []
    valid_loss: list[float] = []
    best_weight, best_bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    best = 0
    for epoch in range(parameters.epochs):
        total = 0.0
        for batch in torch.randperm(len(targets), generator=order).split(parameters.batch_size):
            optimiser.zero_grad()
            loss = functional.cross_entropy(
                layer(inputs[batch]), targets[batch], label_smoothing=parameters.label_smoothing
            )
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        train_loss.append(total / len(targets))
        with torch.inference_mode():
            valid_loss.append(functional.cross_entropy(layer(valid_inputs), valid_targets).item())
        if valid_loss[-1] <= min(valid_loss):
            best, best_weight, best_bias = epoch, layer.weight.detach().clone(), layer.bias.detach().clone()
        elif epoch - best >= parameters.patience:
            break
    weight = best_weight.double().numpy() / scale
    bias = best_bias.double().numpy() - weight @ mean
    head = Head(weight.astype(np.float32), bias.astype(np.float32))
    return Trial(weight_decay, best + 1, tuple(train_loss), tuple(valid_loss), head)
