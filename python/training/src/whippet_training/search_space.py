"""What a search chooses from: the same ranges for Optuna and for SageMaker's tuning jobs."""

from __future__ import annotations

import importlib.resources
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from whippet_training.errors import TrainingError
from whippet_training.settings import Settings, read_hyperparameters

SEARCHABLE = (
    "backbone",
    "image_size",
    "views",
    "hidden",
    "dropout",
    "learning_rate",
    "batch_size",
    "weight_decay",
    "label_smoothing",
    "epochs",
    "patience",
)
"""Hyperparameters of a head on frozen features; those of fine-tuning are none."""

DIGITS = 3
"""Significant digits of a chosen float: more would tell nothing."""

Value = int | float | str


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    is_integer: bool
    is_logarithmic: bool

    def distribution(self) -> BaseDistribution:
        """The range as Optuna has it."""
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.is_logarithmic)
        return FloatDistribution(self.low, self.high, log=self.is_logarithmic)

    def rounded(self, value: Any) -> Value:
        """A number of the range, short enough to read and to copy."""
        if self.is_integer:
            return int(value)
        return float(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of some values, which have no order."""

    values: tuple[Value, ...]

    def distribution(self) -> BaseDistribution:
        """The choice as Optuna has it."""
        return CategoricalDistribution(self.values)

    def rounded(self, value: Any) -> Value:
        """The value itself."""
        chosen: Value = value
        return chosen

    def __contains__(self, value: object) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Space:
    """What is searched, and what stays as it is; names are those of the flags, with underscores.

    Attributes:
        searched: Where each hyperparameter is chosen from.
        fixed: Values of the others.
    """

    searched: Mapping[str, Range | Choice]
    fixed: Mapping[str, Value]

    def distributions(self) -> dict[str, BaseDistribution]:
        """The space as Optuna has it, by the flags' names."""
        return {_flag(name): where.distribution() for name, where in self.searched.items()}

    def rounded(self, chosen: Mapping[str, Any]) -> dict[str, Value]:
        """What Optuna has chosen, with readable numbers."""
        return {_flag(name): where.rounded(chosen[_flag(name)]) for name, where in self.searched.items()}

    def hyperparameters(self, chosen: Mapping[str, Any]) -> dict[str, Value]:
        """All hyperparameters of a trial in the order of the flags, chosen and fixed, with underscores."""
        own = {name: chosen[_flag(name)] for name in self.searched}
        return {name: value for name in SEARCHABLE if (value := {**self.fixed, **own}.get(name)) is not None}

    def settings(self, chosen: Mapping[str, Any], **others: Any) -> Settings:
        """What a trial trains with.

        Args:
            chosen: By Optuna.
            others: Settings that decide nothing of how good a model is: seed, engine, allow_leakage.
        """
        values: dict[str, Any] = {**self.hyperparameters(chosen), **others}
        if "weight_decay" in values:
            values["weight_decay"] = [values["weight_decay"]]
        return Settings.from_hyperparameters(values)

    def defaults(self) -> dict[str, Any]:
        """What training takes by itself, as far as it lies in the space."""
        own = Settings().hyperparameters()
        own["weight_decay"] = own["weight_decay"][0]
        return {_flag(name): own[name] for name, where in self.searched.items() if own[name] in where}

    def values(self, name: str) -> tuple[Value, ...]:
        """All values that a hyperparameter may take.

        Raises:
            TrainingError: If they are a range of floats.
        """
        where = self.searched.get(name)
        if where is None:
            return (self.fixed[name],) if name in self.fixed else (Settings().hyperparameters()[name],)
        if isinstance(where, Choice):
            return where.values
        if not where.is_integer:
            raise TrainingError(f"The search space needs a list of values for {_flag(name)}, not a range.")
        return tuple(range(int(where.low), int(where.high) + 1))

    def document(self) -> dict[str, Any]:
        """The space as a file for ``--space`` holds it."""
        return {
            **{_flag(name): value for name, value in self.fixed.items()},
            **{_flag(name): _described(where) for name, where in self.searched.items()},
        }

    def sagemaker_ranges(self) -> dict[str, Any]:
        """The space for CreateHyperParameterTuningJob.

        https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-define-ranges.html

        Returns:
            ``ParameterRanges``, and ``StaticHyperParameters`` of what is not searched.
        """
        ranges: dict[str, list[dict[str, Any]]] = {
            "IntegerParameterRanges": [],
            "ContinuousParameterRanges": [],
            "CategoricalParameterRanges": [],
        }
        for name, where in self.searched.items():
            if isinstance(where, Choice):
                ranges["CategoricalParameterRanges"].append(
                    {"Name": _flag(name), "Values": [_text(value) for value in where.values]}
                )
                continue
            group = "IntegerParameterRanges" if where.is_integer else "ContinuousParameterRanges"
            ranges[group].append(
                {
                    "Name": _flag(name),
                    "MinValue": _text(int(where.low) if where.is_integer else where.low),
                    "MaxValue": _text(int(where.high) if where.is_integer else where.high),
                    "ScalingType": "Logarithmic" if where.is_logarithmic else "Linear",
                }
            )
        return {
            "ParameterRanges": ranges,
            "StaticHyperParameters": {_flag(name): _text(value) for name, value in self.fixed.items()},
        }


def read_space(file: Path | None = None, backbones: Sequence[str] = ()) -> Space:
    """Reads the default space.

    Args:
        file: YAML whose lines replace those of the default.
        backbones: timm names that replace what is said of the backbone.

    Raises:
        TrainingError: If the file cannot be read, names what cannot be searched, or a value that training refuses.
    """
    text = importlib.resources.files(__package__).joinpath("search_space.yaml").read_text("utf-8")
    lines = {name.replace("-", "_"): value for name, value in yaml.safe_load(text).items()}
    place = str(file) if file else "the search space"
    if file:
        lines |= read_hyperparameters(file)
    if backbones:
        lines["backbone"] = list(backbones)
    if strange := sorted(lines.keys() - set(SEARCHABLE)):
        raise TrainingError(
            f"{place} names {', '.join(map(_flag, strange))}, which cannot be searched; "
            f"these can: {', '.join(map(_flag, SEARCHABLE))}."
        )
    flags = _flags()
    searched: dict[str, Range | Choice] = {}
    fixed: dict[str, Value] = {}
    for name in SEARCHABLE:
        if name not in lines:
            continue
        match _parsed(lines[name], flags[name], f"{place}: {_flag(name)}"):
            case Choice(values=(only,)):
                fixed[name] = only
            case Range(low=low, high=high) as where if low == high:
                fixed[name] = where.rounded(low)
            case where:
                searched[name] = where
    if not searched:
        raise TrainingError(f"{place} leaves nothing to search: give at least one hyperparameter a range or a list.")
    return Space(searched, fixed)


@dataclass(frozen=True)
class _Flag:
    """What a flag of training takes."""

    kind: type[Value]
    least: float
    most: float


def _flags() -> dict[str, _Flag]:
    """The flags of training by name: the one place that knows what each of them takes."""
    from whippet_training.train import main

    flags = {}
    for name, hint in typing.get_type_hints(main, include_extras=True).items():
        annotation, *metadata = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        kind = next((kind for kind in (int, float, str) if kind in _inside(annotation)), None)
        if kind is None:
            continue
        least = next((option.min for option in metadata if getattr(option, "min", None) is not None), -math.inf)
        most = next((option.max for option in metadata if getattr(option, "max", None) is not None), math.inf)
        flags[name] = _Flag(kind, least, most)
    return flags


def _inside(annotation: Any) -> set[Any]:
    return {annotation, *(kind for part in typing.get_args(annotation) for kind in _inside(part))}


def _parsed(given: Any, flag: _Flag, place: str) -> Range | Choice:
    if isinstance(given, Mapping):
        return _range(given, flag, place)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise TrainingError(f"{place} is an empty list.")
    return Choice(tuple(dict.fromkeys(_converted(value, flag, place) for value in values)))


def _range(given: Mapping[Any, Any], flag: _Flag, place: str) -> Range:
    example = "{from: 0.001, to: 0.1, scale: log}"
    if not {"from", "to"} <= given.keys() <= {"from", "to", "scale"} or given.get("scale", "log") not in (
        "log",
        "linear",
    ):
        raise TrainingError(f"{place}: write a range as {example}; the scale is log or linear.")
    low, high = (_converted(given[end], flag, place) for end in ("from", "to"))
    if isinstance(low, str) or isinstance(high, str):
        raise TrainingError(f"{place} takes names: give it a list.")
    is_logarithmic = given.get("scale") == "log"
    if low > high or (is_logarithmic and low <= 0):
        raise TrainingError(f"{place}: a range runs from the lower to the higher number, above 0 if its scale is log.")
    return Range(low, high, isinstance(low, int) and isinstance(high, int), is_logarithmic)


def _converted(value: Any, flag: _Flag, place: str) -> Value:
    wanted = {int: "a whole number", float: "a number", str: "a name"}[flag.kind]
    if flag.kind is str:
        if not isinstance(value, str) or not value:
            raise TrainingError(f"{place}: {value!r} is not {wanted}.")
        return value
    try:
        # PyYAML reads 1e-3, which has no point, as text
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (flag.kind is int and not number.is_integer()):
        raise TrainingError(f"{place}: {value!r} is not {wanted}.")
    if not flag.least <= number <= flag.most:
        limits = f"from {flag.least:g}" + (f" to {flag.most:g}" if flag.most < math.inf else " up")
        raise TrainingError(f"{place}: {value} is not {limits}, which training takes.")
    return int(number) if flag.kind is int else number


def _described(where: Range | Choice) -> Any:
    if isinstance(where, Choice):
        return list(where.values)
    return {"from": where.low, "to": where.high, "scale": "log" if where.is_logarithmic else "linear"}


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _text(value: Value) -> str:
    return value if isinstance(value, str) else repr(value)
