"""When a tuning job has ended.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-progress.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: SageMaker gives a tuning job up when this many trials have ended and none has succeeded.
ATTEMPTS = 5
#: By how much a trial must be better to count as an improvement,
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_BestObjectiveNotImproving.html
IMPROVEMENT = 0.01


@dataclass(frozen=True)
class Progress:
    """How far a tuning job has come.

    Attributes:
        ended: how many trials have ended.
        best: the best objective metric; None while there is none.
        not_improving: how many trials have ended since the last that made the best one better.
        is_exhausted: all trials have ended, and there are no more to start.
        seconds_left: of its MaxRuntimeInSeconds; None where it has none.
    """

    ended: int
    best: float | None
    not_improving: int
    is_exhausted: bool
    seconds_left: float | None


def end_of(config: Mapping[str, Any], progress: Progress) -> tuple[str, str] | None:
    """The status that a tuning job ends with now, and the reason where it has failed; None while it goes on.

    Args:
        config: HyperParameterTuningJobConfig.
        progress: how far it has come.
    """
    if progress.best is None and (progress.ended >= ATTEMPTS or progress.is_exhausted):
        return "Failed", (
            f"No training job succeeded after {progress.ended} attempts. For additional details, please take a look at "
            "the training job failures by listing training jobs for the hyperparameter tuning job."
        )
    criteria = config.get("TuningJobCompletionCriteria", {})
    target = criteria.get("TargetObjectiveMetricValue")
    patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
    is_maximised = config["HyperParameterTuningJobObjective"]["Type"] == "Maximize"
    is_done = (
        progress.is_exhausted
        or (target is not None and progress.best is not None and not improves(target, progress.best, is_maximised))
        or (patience is not None and progress.not_improving >= patience)
        or progress.seconds_left == 0
    )
    return ("Completed", "") if is_done else None


def improves(value: float, best: float | None, is_maximised: bool, by: float = 0.0) -> bool:
    """Whether a value is better than the best so far.

    Args:
        value: the new one.
        best: the best so far; None where there is none.
        is_maximised: whether a large one is good.
        by: by which part of the best it must be better.
    """
    if best is None:
        return True
    gain = value - best if is_maximised else best - value
    return gain > 0 and gain >= abs(best) * by
