"""What decides a training's result, beside the data: its settings, and the files and presets that hold them."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from whippet_training.errors import TrainingError
from whippet_training.finetuning import FineTuning

DEFAULT_PRESET = "balanced"


@dataclass(frozen=True)
class HeadSettings:
    """What a head is trained with.

    Attributes:
        learning_rate: AdamW's.
        batch_size: Photos in a step.
        epochs: Passes over the training photos, at most.
        patience: Epochs without a lower validation loss that end the training.
        weight_decays: AdamW's; each is tried, the lowest validation loss wins.
        label_smoothing: Part of the target that is spread over all classes, in training only.
        hidden: Units between features and classes; 0 makes the head linear.
        dropout: Part of the features, and of the hidden units, that a step leaves out.
        fit_on: train, or train+valid: the head that is exported learns from the validation photos as well, after they
            chose its weight decay and number of epochs.
    """

    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 60
    patience: int = 6
    weight_decays: tuple[float, ...] = (1e-2, 1.0)
    label_smoothing: float = 0.0
    hidden: int = 0
    dropout: float = 0.0
    fit_on: str = "train"


@dataclass(frozen=True)
class Settings:
    """What to train, and how.

    Attributes:
        backbone: timm name of the network, or several joined by plus signs.
        image_size: Side in pixels of the network's input; 0 takes the network's own.
        crop_pct: Part of a photo's short side that the network sees, in the centre; 0 takes the network's own.
        views: Of every training photo, the centre crop included.
        engine: openvino, torch or auto.
        head: How the head is trained.
        finetuning: How the backbone is trained with it afterwards.
        seed: Of every random draw.
        allow_leakage: Train although a picture lies in two splits.
    """

    backbone: str = "tf_efficientnet_lite1"
    image_size: int = 0
    crop_pct: float = 0.0
    views: int = 1
    engine: str = "auto"
    head: HeadSettings = field(default_factory=HeadSettings)
    finetuning: FineTuning = field(default_factory=FineTuning)
    seed: int = 0
    allow_leakage: bool = False

    @classmethod
    def from_hyperparameters(cls, values: Mapping[str, Any]) -> Settings:
        """The settings with these hyperparameters, under the names of the command line's flags with underscores."""
        head = {name: values[name] for name in _names(HeadSettings) & values.keys()}
        if values.get("weight_decay"):
            head["weight_decays"] = tuple(values["weight_decay"])
        finetuning = {name: values[flag] for name, flag in _FINETUNING.items() if flag in values}
        own = {name: values[name] for name in (_names(cls) - {"head", "finetuning"}) & values.keys()}
        return cls(head=HeadSettings(**head), finetuning=FineTuning(**finetuning), **own)

    def hyperparameters(self) -> dict[str, Any]:
        """What decides how good the model is, flat, under the names of the command line's flags with underscores."""
        flat = asdict(self)
        flat |= flat.pop("head")
        flat["weight_decay"] = list(flat.pop("weight_decays"))
        flat |= {_FINETUNING[name]: value for name, value in flat.pop("finetuning").items()}
        return {name: flat[name] for name in HYPERPARAMETERS}


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


_FINETUNING = {field.name: f"finetune_{field.name}" for field in fields(FineTuning)}
"""Names of the settings of fine-tuning, and what they are called among all hyperparameters."""

HYPERPARAMETERS = (
    "backbone",
    "image_size",
    "crop_pct",
    "views",
    "hidden",
    "dropout",
    "learning_rate",
    "batch_size",
    "epochs",
    "patience",
    "weight_decay",
    "label_smoothing",
    "fit_on",
    *_FINETUNING.values(),
)
"""What presets and files of hyperparameters may name: flags of the command line, with underscores."""


def presets() -> dict[str, dict[str, Any]]:
    """The presets by name: hyperparameters by the names of the flags, with underscores."""
    text = importlib.resources.files(__package__).joinpath("presets.yaml").read_text("utf-8")
    return {name: _underscored(values or {}) for name, values in yaml.safe_load(text).items()}


def read_hyperparameters(path: Path) -> dict[str, Any]:
    """Reads a YAML file of hyperparameters, as ``whippet tune`` writes it.

    Returns:
        Values by the names of the flags, with underscores.

    Raises:
        TrainingError: If the file cannot be read or is not a mapping of names to values.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        raise TrainingError(f"{path} does not name hyperparameters; write lines like  learning-rate: 0.001")
    return _underscored(document)


def merge_defaults(context: Any, chosen: str | Path | None) -> None:
    """Lets a preset's or a file's values stand for the flags that a command line does not give.

    Args:
        context: The command's click context. A file counts above a preset, whichever comes first.
        chosen: The preset's name or the file.

    Raises:
        TrainingError: If there is no such preset, or the file is not one of hyperparameters.
    """
    if chosen is None:
        return
    if isinstance(chosen, Path):
        values, place = read_hyperparameters(chosen), str(chosen)
    else:
        if chosen not in presets():
            raise TrainingError(f"There is no preset {chosen}; choose {', '.join(presets())}.")
        values, place = presets()[chosen], f"the preset {chosen}"
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name in HYPERPARAMETERS}
    if strange := sorted(values.keys() - known.keys()):
        raise TrainingError(
            f"{place} names {', '.join(strange)}, which are no hyperparameters; known are {', '.join(known)}."
        )
    listed = {
        name: [value] if known[name].multiple and not isinstance(value, list) else value
        for name, value in values.items()
    }
    earlier = context.default_map or {}
    context.default_map = {**earlier, **listed} if isinstance(chosen, Path) else {**listed, **earlier}


def _underscored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in values.items()}
