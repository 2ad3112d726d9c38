"""Looks into a network while it trains: sizes of gradients, and which units of its activation layers are alive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

CUT_OFF = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU, nn.SiLU, nn.Mish)
"""Activations that answer zero over a whole range of inputs, so that a unit may fall silent for good."""

_SILENT = 1e-6
_PHOTOS_OF_MAPS = 8
"""Photos of a batch that are looked at where a layer answers with maps: each holds a unit's answer at many places."""


@dataclass(frozen=True)
class Activity:
    """What an activation layer answered to one batch.

    Attributes:
        layer: Name of the layer, with a number where the network calls it several times.
        awake: Whether any photo moved the unit, bool [units].
        photos: That were looked at.
        indifferent: Whether the layer answered the same to every photo.
    """

    layer: str
    awake: torch.Tensor
    photos: int
    indifferent: bool


class Probe:
    """Looks at a network's activations in the one forward pass after ``arm``, and at its gradients when asked.

    Args:
        module: The network.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, CUT_OFF)}
        self._weights = [name for name, weight in module.named_parameters() if weight.ndim > 1]
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._seen: list[Activity] = []

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The matrices and kernels, from input to output; scales and biases are left out."""
        own = dict(self._module.named_parameters())
        return {name: own[name] for name in self._weights}

    def arm(self) -> None:
        """Looks at the activations of the next forward pass in training."""
        self.disarm()
        self._seen = []
        self._hooks = [layer.register_forward_hook(self._hook(name)) for name, layer in self._layers.items()]

    def disarm(self) -> list[Activity]:
        """Looks no longer, and returns what was seen; nothing if it was not armed."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        return self._seen

    def gradient_norm(self) -> float:
        """Euclidean norm of all gradients together."""
        gradients = [weight.grad for weight in self._module.parameters() if weight.grad is not None]
        if not gradients:
            return 0.0
        norms = torch._foreach_norm(gradients)
        return float(torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms])))

    def mean_gradients(self) -> dict[str, float]:
        """Mean size of a gradient of each matrix or kernel that is trained."""
        trained = {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
        if not trained:
            return {}
        sums = torch.stack([norm.float() for norm in torch._foreach_norm(list(trained.values()), 1)]).tolist()
        return {name: total / gradient.numel() for total, (name, gradient) in zip(sums, trained.items(), strict=True)}

    def _hook(self, name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        # A plain function, not a method: a copy of the network, as of a moving average, must not copy the probe.
        seen, names = self._seen, self._names
        root = self._module

        def look(layer: nn.Module, _: object, output: torch.Tensor) -> None:
            if root.training and layer.training and torch.is_grad_enabled():
                seen.append(_look(names(name, seen), output.detach()))

        return look

    @staticmethod
    def _names(name: str, seen: list[Activity]) -> str:
        again = sum(one.layer.split("#")[0] == name for one in seen)
        return f"{name}#{again}" if again else name


def _look(name: str, output: torch.Tensor) -> Activity:
    values = output[:_PHOTOS_OF_MAPS] if output.ndim > 2 else output
    units = 1 if values.ndim == 4 else values.ndim - 1
    sizes = values.abs().amax(dim=[axis for axis in range(values.ndim) if axis != units])
    spread = (values.amax(dim=0) - values.amin(dim=0)).amax()
    return Activity(name, sizes > _SILENT, len(values), len(values) > 1 and float(spread) <= _SILENT)
