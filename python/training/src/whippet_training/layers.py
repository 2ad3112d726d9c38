"""Stages of a backbone, what each is trained with, and the network of backbone and head that is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from timm.models import group_parameters

from whippet_training.augment import DROPOUT, HEAD, generator
from whippet_training.finetuning import FineTuning
from whippet_training.head import Head


def stages(module: torch.nn.Module, prefix: str = "") -> list[list[str]]:
    """The names of a network's parameters by stage, from its input to its output, as timm divides it.

    Of several networks in one module the last stages are one stage, and so on.
    """
    matcher: Any = getattr(module, "group_matcher", None)
    if matcher:
        groups = group_parameters(module, matcher(coarse=True))
        return [[prefix + name for name in groups[number]] for number in sorted(groups)]
    parts = [stages(child, f"{prefix}{name}.") for name, child in module.named_children()]
    depth = max((len(part) for part in parts), default=0)
    merged = [[name for part in parts if len(part) >= depth - i for name in part[i - depth]] for i in range(depth)] or [
        []
    ]
    merged[-1] += [prefix + name for name, _ in module.named_parameters(recurse=False)]
    return [stage for stage in merged if stage]


class SharedDropout(torch.nn.Module):
    """Dropout that a photo meets in the same way in whichever process it is.

    Args:
        part: That is left out.
        number: Of the layer, so that no two draw the same.
    """

    def __init__(self, part: float, number: int) -> None:
        super().__init__()
        self._part, self._number = part, number
        self._seed, self._step, self._size = 0, 0, 0
        self._positions = torch.empty(0, dtype=torch.int64)

    def turn_to(self, seed: int, step: int, size: int, positions: torch.Tensor) -> None:
        """Says which photos of which step come next.

        Args:
            seed: Of the training.
            step: Of the training.
            size: Photos in the batch of all processes.
            positions: Of the photos in it, int64 [N].
        """
        self._seed, self._step, self._size, self._positions = seed, step, size, positions

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Leaves out of each photo's values [N, width] what its place in the step says, in training only."""
        if not self.training or not self._part:
            return values
        draw = generator(self._seed, DROPOUT, self._step, self._number)
        kept = torch.from_numpy(draw.random((self._size, values.shape[1])) >= self._part)[self._positions]
        return values * kept.to(values.device, values.dtype) / (1 - self._part)


class Network(torch.nn.Module):
    """A backbone and a head, as they are trained.

    Args:
        backbone: Is copied.
        head: Its shape counts, and its weights unless a new head is asked for.
        settings: Of the training.
        seed: Of a new head.
    """

    def __init__(self, backbone: torch.nn.Module, head: Head, settings: FineTuning, seed: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self._stages = stages(self.backbone)
        self._settings = settings
        steps: list[torch.nn.Module] = []
        layers = head.layers if settings.head == "probe" else _new_layers(head, seed)
        for number, layer in enumerate(module for module in Head(layers).module() if _is_linear(module)):
            steps += [*([torch.nn.ReLU()] if number else []), SharedDropout(settings.dropout, number), layer]
        self.head = torch.nn.Sequential(*steps)
        count = len(self._stages)
        self._trained = count if settings.stages < 0 else min(settings.stages, count)
        self.requires_grad_(False)
        self.head.requires_grad_(True)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Answers for normalised photos [N, 3, H, W]: logits [N, classes]."""
        logits: torch.Tensor = self.head(self.backbone(photos))
        return logits

    def dropouts(self) -> Iterator[SharedDropout]:
        """The head's dropouts."""
        return (step for step in self.head if isinstance(step, SharedDropout))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What an optimiser trains: the head first, then the stages from the last one down."""
        settings = self._settings
        by_name = dict(self.backbone.named_parameters())
        layers = [list(self.head.parameters())]
        layers += [[by_name[name] for name in stage] for stage in self._trained_stages()[::-1]]
        groups = []
        for depth, parameters in enumerate(layers):
            rate = settings.learning_rate * settings.layer_decay**depth
            for decays in (True, False):
                chosen = [one for one in parameters if (one.ndim > 1) == decays]
                if chosen:
                    decay = settings.weight_decay if decays else 0.0
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        return groups

    def thaw(self, epoch: int) -> bool:
        """Lets the stages that an epoch trains be trained, and puts every part into its mode.

        Returns:
            Whether other stages are trained now than before.
        """
        every = self._settings.unfreeze_every
        count = min(self._trained, 1 + epoch // every) if every else self._trained
        trained = {name for stage in (self._stages[-count:] if count else []) for name in stage}
        changed = False
        for name, parameter in self.backbone.named_parameters():
            changed |= parameter.requires_grad != (name in trained)
            parameter.requires_grad_(name in trained)
        self.train()
        if not count:
            self.backbone.eval()
        for module in self.backbone.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                frozen = module.weight is None or not module.weight.requires_grad
                module.train(not self._settings.freeze_norm and not frozen)
        return changed

    def saved(self) -> list[str]:
        """Names in the state dictionary of all that the training changes."""
        trained = {f"backbone.{name}" for stage in self._trained_stages() for name in stage}
        parameters = {name for name, _ in self.named_parameters()}
        buffers = self._trained and not self._settings.freeze_norm
        return [
            name
            for name in self.state_dict()
            if name.startswith("head.") or name in trained or (buffers and name not in parameters)
        ]

    def trained_head(self) -> Head:
        """The head with its weights of now."""
        linear = [step for step in self.head if isinstance(step, torch.nn.Linear)]
        return Head(
            tuple(
                (layer.weight.detach().cpu().numpy().copy(), layer.bias.detach().cpu().numpy().copy())
                for layer in linear
            )
        )

    def _trained_stages(self) -> list[list[str]]:
        return self._stages[-self._trained :] if self._trained else []


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def _new_layers(head: Head, seed: int) -> tuple[tuple[Any, Any], ...]:
    """Layers of a head's shape: the last one nought, the others after He et al. (arXiv 1502.01852)."""
    draw = torch.Generator().manual_seed(int(generator(seed, HEAD).integers(2**62)))
    sizes = [head.layers[0][0].shape[1], *(len(bias) for _, bias in head.layers)]
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = torch.zeros(outputs, inputs)
        if number < len(sizes) - 2:
            torch.nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=draw)
        layers.append((weight.numpy(), torch.zeros(outputs).numpy()))
    return tuple(layers)


def state_of(network: torch.nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """A copy of these entries of a network's state, in the CPU's memory."""
    state = network.state_dict()
    return {name: state[name].detach().to("cpu", copy=True) for name in names}


def restore(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Puts such a copy back."""
    network.load_state_dict(state, strict=False)
