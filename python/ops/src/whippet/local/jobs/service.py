"""SageMaker's jobs: training, and the tuning that starts trainings."""

from __future__ import annotations

from typing import Any

from whippet.local.clock import Clock
from whippet.local.jobs.channels import Data
from whippet.local.jobs.run import Context
from whippet.local.jobs.training import TrainingJobs
from whippet.local.jobs.tuning import TuningJobs
from whippet.local.monitoring.metrics import Metrics
from whippet.local.services import Handlers
from whippet.local.settings import Settings
from whippet.local.state import State


class Jobs:
    """All jobs of local AWS.

    Args:
        settings: how it runs.
        clock: tells when something happens.
        metrics: takes what the jobs measure.
        state: saves the records.
    """

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics, state: State) -> None:
        self._training = TrainingJobs(Context(settings, clock, metrics, state, Data(settings.work / "data")))
        self._tuning = TuningJobs(self._training, clock, state)

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return {**self._training.handlers(), **self._tuning.handlers()}

    def status(self) -> list[dict[str, Any]]:
        """The jobs that run, for `whippet local status`."""
        return self._training.status()

    def resume(self) -> None:
        """Ends, on record, what ran when local AWS ended."""
        self._training.resume()
        self._tuning.resume()

    def stop(self) -> None:
        """Ends every process and thread."""
        self._tuning.stop()
        self._training.stop()
