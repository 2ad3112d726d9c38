"""How a tuning job chooses hyperparameters, and when it gives a training job up.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-how-it-works.html
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)

#: A range that spans more than this is searched on a logarithmic scale where the scaling type is Auto. SageMaker does
#: not say how it decides.
AUTO_LOGARITHMIC = 100.0
#: Where Hyperband looks for its MaxResource,
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HyperbandStrategyConfig.html
EPOCH_PARAMETERS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
MAX_EPOCHS = 20_000


@dataclass(frozen=True)
class Range:
    """A hyperparameter to be chosen.

    Attributes:
        name: the hyperparameter.
        distribution: what is chosen from.
        is_reversed: the distribution is that of one minus the value.
    """

    name: str
    distribution: BaseDistribution
    is_reversed: bool = False

    def text(self, chosen: Any) -> str:
        """The hyperparameter for what was chosen from the distribution."""
        if self.is_reversed:
            return repr(1.0 - chosen)
        return chosen if isinstance(chosen, str) else repr(chosen)

    def chosen(self, text: str) -> Any:
        """What was chosen from the distribution for a hyperparameter; None if that cannot have been."""
        try:
            if isinstance(self.distribution, CategoricalDistribution):
                value: Any = text
            elif isinstance(self.distribution, IntDistribution):
                value = int(text)
            else:
                value = 1.0 - float(text) if self.is_reversed else float(text)
            return value if self.distribution._contains(self.distribution.to_internal_repr(value)) else None
        except ValueError:
            return None


def read_ranges(given: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Range]:
    """Reads ParameterRanges.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-define-ranges.html

    Raises:
        ValueError: there is none, or one is not well formed.
    """
    if given.get("AutoParameters"):
        raise ValueError("Local AWS does not support AutoParameters.")
    ranges = [_integer(one) for one in given.get("IntegerParameterRanges", [])]
    ranges += [_continuous(one) for one in given.get("ContinuousParameterRanges", [])]
    ranges += [
        Range(one["Name"], CategoricalDistribution(list(dict.fromkeys(one["Values"]))))
        for one in given.get("CategoricalParameterRanges", [])
    ]
    if not ranges:
        raise ValueError("At least one hyperparameter range must be specified.")
    names = [one.name for one in ranges]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Hyperparameters must have one range each: {', '.join(repeated)}.")
    return ranges


def _integer(given: Mapping[str, Any]) -> Range:
    low, high = _bounds(given)
    if given.get("ScalingType") == "ReverseLogarithmic":
        raise ValueError(f"Hyperparameter {given['Name']}: an integer range cannot be reverse logarithmic.")
    if not (low.is_integer() and high.is_integer()):
        raise ValueError(f"Hyperparameter {given['Name']}: MinValue and MaxValue must be integers.")
    return Range(given["Name"], IntDistribution(int(low), int(high), log=_is_logarithmic(given, low, high)))


def _continuous(given: Mapping[str, Any]) -> Range:
    low, high = _bounds(given)
    if given.get("ScalingType") == "ReverseLogarithmic":
        if not 0 <= low <= high < 1:
            raise ValueError(f"Hyperparameter {given['Name']}: reverse logarithmic scaling needs 0 <= x < 1.")
        return Range(given["Name"], FloatDistribution(1.0 - high, 1.0 - low, log=True), is_reversed=True)
    return Range(given["Name"], FloatDistribution(low, high, log=_is_logarithmic(given, low, high)))


def _bounds(given: Mapping[str, Any]) -> tuple[float, float]:
    try:
        low, high = float(given["MinValue"]), float(given["MaxValue"])
    except ValueError:
        raise ValueError(f"Hyperparameter {given['Name']}: MinValue and MaxValue must be numbers.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"Hyperparameter {given['Name']}: MinValue must not be greater than MaxValue.")
    return low, high


def _is_logarithmic(given: Mapping[str, Any], low: float, high: float) -> bool:
    scaling = given.get("ScalingType", "Auto")
    if scaling == "Logarithmic" and low <= 0:
        raise ValueError(f"Hyperparameter {given['Name']}: logarithmic scaling needs values greater than 0.")
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= AUTO_LOGARITHMIC)


@dataclass(frozen=True)
class Suggestion:
    """Hyperparameters for one training job.

    Attributes:
        number: of the suggestion.
        parameters: the hyperparameters, as they are given to the job.
    """

    number: int
    parameters: dict[str, str]


class Strategy(Protocol):
    """Chooses hyperparameters."""

    def suggest(self) -> Suggestion | None:
        """Hyperparameters for the next training job; None where there are no more."""
        ...

    def should_stop(self, suggestion: Suggestion, values: Sequence[float]) -> bool:
        """Whether a job is not worth going on with.

        Args:
            suggestion: what it runs with.
            values: the objective metric so far.
        """
        ...

    def tell(self, suggestion: Suggestion, value: float | None) -> None:
        """Takes the objective metric of a job that has ended, None where it has none."""
        ...


class Grid:
    """Every combination once.

    Args:
        ranges: what is combined; all categorical.
    """

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._names = [one.name for one in ranges]
        self._combinations = enumerate(itertools.product(*_choices(ranges)))

    def suggest(self) -> Suggestion | None:
        """The next combination."""
        number, values = next(self._combinations, (0, None))
        return None if values is None else Suggestion(number, dict(zip(self._names, values, strict=True)))

    def should_stop(self, suggestion: Suggestion, values: Sequence[float]) -> bool:
        """Never."""
        return False

    def tell(self, suggestion: Suggestion, value: float | None) -> None:
        """Nothing is learned."""


def combinations(ranges: Sequence[Range]) -> int:
    """How many combinations a grid has.

    Raises:
        ValueError: a range is not categorical.
    """
    return math.prod(len(values) for values in _choices(ranges))


def _choices(ranges: Sequence[Range]) -> Iterator[tuple[str, ...]]:
    for one in ranges:
        if not isinstance(one.distribution, CategoricalDistribution):
            raise ValueError("Grid search supports categorical hyperparameter ranges only.")
        yield tuple(str(choice) for choice in one.distribution.choices)


class Search:
    """Random, Bayesian and Hyperband search, which Optuna does.

    Args:
        strategy: SageMaker's name of it.
        ranges: what is searched.
        is_maximised: whether a large objective metric is good.
        seed: makes it repeatable.
        resources: the least and the most epochs of a job, for Hyperband.
    """

    def __init__(
        self,
        strategy: str,
        ranges: Sequence[Range],
        *,
        is_maximised: bool,
        seed: int | None,
        resources: tuple[int, int] | None = None,
    ) -> None:
        self._ranges = ranges
        self._distributions = {one.name: one.distribution for one in ranges}
        self._resources = resources
        sampler = (
            optuna.samplers.RandomSampler(seed)
            if strategy == "Random"
            else optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        )
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if resources:
            pruner = optuna.pruners.HyperbandPruner(min_resource=resources[0], max_resource=resources[1])
        self._study = optuna.create_study(
            study_name="tuning",  # of which Hyperband makes up its brackets
            sampler=sampler,
            pruner=pruner,
            direction="maximize" if is_maximised else "minimize",
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._told: dict[int, int] = {}

    def learn(self, parameters: Mapping[str, str], value: float) -> None:
        """Takes the result of another tuning job's training, unless it lies outside of the ranges."""
        chosen = {one.name: one.chosen(parameters[one.name]) for one in self._ranges if one.name in parameters}
        if len(chosen) == len(self._ranges) and None not in chosen.values():
            self._study.add_trial(
                optuna.trial.create_trial(params=chosen, distributions=self._distributions, value=value)
            )

    def suggest(self) -> Suggestion | None:
        """What Optuna's sampler finds promising."""
        trial = self._study.ask(self._distributions)
        self._trials[trial.number] = trial
        return Suggestion(trial.number, {one.name: one.text(trial.params[one.name]) for one in self._ranges})

    def should_stop(self, suggestion: Suggestion, values: Sequence[float]) -> bool:
        """Whether Hyperband gives the job up, or its epochs are used up; each value is one epoch's."""
        if self._resources is None:
            return False
        trial = self._trials[suggestion.number]
        for epoch in range(self._told.get(suggestion.number, 0) + 1, len(values) + 1):
            self._told[suggestion.number] = epoch
            trial.report(values[epoch - 1], epoch)
            if trial.should_prune():
                return True
        return len(values) >= self._resources[1]

    def tell(self, suggestion: Suggestion, value: float | None) -> None:
        """Lets the sampler know."""
        trial = self._trials.pop(suggestion.number)
        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)


def hyperband_resources(config: Mapping[str, Any], static: Mapping[str, str]) -> tuple[int, int]:
    """The least and the most epochs of a job under Hyperband.

    Args:
        config: HyperbandStrategyConfig.
        static: the hyperparameters that are not searched.

    Raises:
        ValueError: nothing says how many epochs there are.
    """
    least = int(config.get("MinResource", 1))
    named = next((static[name] for name in EPOCH_PARAMETERS if name in static), "")
    most = config.get("MaxResource") or (int(named.strip('"')) if named.strip('"').isdecimal() else None)
    if most is None:
        raise ValueError(
            "Hyperband needs MaxResource, or one of these among the static hyperparameters: "
            f"{', '.join(EPOCH_PARAMETERS)}."
        )
    if not least <= most <= MAX_EPOCHS:
        raise ValueError(f"Hyperband needs MinResource <= MaxResource <= {MAX_EPOCHS}.")
    return least, int(most)


def is_worse_than_median(values: Sequence[float], earlier: Sequence[Sequence[float]], is_maximised: bool) -> bool:
    """The rule of early stopping: worse than the median of the running averages of earlier jobs, up to this epoch.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html

    Args:
        values: the objective metric of a job so far, one for each epoch.
        earlier: those of the jobs that have completed.
        is_maximised: whether a large one is good.
    """
    epoch = len(values)
    averages = [statistics.fmean(one[:epoch]) for one in earlier if len(one) >= epoch > 0]
    if not averages:
        return False
    median = statistics.median(averages)
    return values[-1] < median if is_maximised else values[-1] > median
