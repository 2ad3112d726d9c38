"""Everything that watches a training: rules, a profile if it is asked for, and trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whippet_training.observe import Observer, Observers
from whippet_training.profiling import Profile
from whippet_training.ruleset import RuleSet
from whippet_training.trackers import Tracker, create_trackers


@dataclass(frozen=True)
class Watching:
    """What a person asks to watch a training; nothing of it changes the result but a rule that stops.

    Attributes:
        actions: What rules do that do not what they do by default, by their names.
        profile: Whether to measure where time goes, and to trace some steps.
        tensorboard: Folder of TensorBoard's logs.
        mlflow: Address of MLflow's server or database, or a folder.
    """

    actions: Mapping[str, str] = field(default_factory=dict)
    profile: bool = False
    tensorboard: Path | None = None
    mlflow: str | None = None


@dataclass(frozen=True)
class Watchers:
    """The watchers of one training.

    Attributes:
        rules: Those that are not off.
        profile: None if none is taken.
        trackers: None, one or several.
    """

    rules: RuleSet
    profile: Profile | None
    trackers: tuple[Tracker, ...]

    def observer(self) -> Observer:
        """All of them as one."""
        return Observers([self.rules, *([self.profile] if self.profile else []), *self.trackers])

    def profiled(self, run: Path) -> dict[str, Any]:
        """Writes the trace into the run folder; returns what the report holds of the profile, nothing without one."""
        if self.profile is None:
            return {}
        self.profile.write_trace(run)
        return {"profile": self.profile.report()}

    def conclude(self, report: Mapping[str, Any], run: Path, model: Path) -> None:
        """Tells the trackers that the training went well; both folders are complete but for the packed archive."""
        parameters = {
            **report["hyperparameters"],
            "seed": report["seed"],
            "model": report["model"]["id"],
            "data": report["data"]["fingerprint"],
        }
        for tracker in self.trackers:
            tracker.conclude(parameters, report, run, model)


@contextmanager
def watch_over(watching: Watching) -> Iterator[Watchers]:
    """Sets the watchers up and, however the training ends, takes them down.

    Raises:
        TrainingError: If a tracker is not installed or cannot be reached.
    """
    profile = Profile() if watching.profile else None
    watchers = Watchers(
        RuleSet(watching.actions), profile, tuple(create_trackers(watching.tensorboard, watching.mlflow))
    )
    try:
        with profile.recording() if profile else nullcontext():
            yield watchers
    finally:
        for tracker in watchers.trackers:
            tracker.abandon()
