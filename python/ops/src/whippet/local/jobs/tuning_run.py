"""Runs one tuning job: starts trials, learns from them, stops them early, and knows when to end."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from whippet.local.calls import AwsError
from whippet.local.clock import Clock
from whippet.local.jobs.completion import IMPROVEMENT, Progress, end_of, improves
from whippet.local.jobs.records import MAX_FAILURE_REASON, TrainingJob, Trial, TuningJob, training_jobs
from whippet.local.jobs.run import Listener
from whippet.local.jobs.strategies import Strategy, Suggestion, is_worse_than_median
from whippet.local.jobs.training import TrainingJobs
from whippet.local.jobs.trials import objective_of, training_request
from whippet.local.state import State

log = logging.getLogger(__name__)

#: The most trials of a tuning job, https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html
MAX_TRIALS = 750


class TuningRun:
    """A tuning job that runs.

    Args:
        job: its record.
        strategy: chooses hyperparameters.
        training: runs the trials.
        clock: tells when something happens.
        state: saves the record.
        on_end: is called once the job has ended.
    """

    def __init__(
        self,
        job: TuningJob,
        strategy: Strategy,
        training: TrainingJobs,
        clock: Clock,
        state: State,
        on_end: Callable[[], None],
    ) -> None:
        self._job = job
        self._strategy = strategy
        self._training = training
        self._clock = clock
        self._state = state
        self._on_end = on_end
        self._limits = job.config["ResourceLimits"]
        self._is_maximised = job.objective["Type"] == "Maximize"
        self._running: dict[str, tuple[Trial, Suggestion, TrainingJob]] = {}
        self._best: float | None = None
        self._is_exhausted = False
        self._is_abandoned = False
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"tuning-{job.name}")

    def start(self) -> None:
        """Starts it, in the background."""
        self._thread.start()

    def stop(self) -> bool:
        """Has it end as StopHyperParameterTuningJob does; whether it was under way."""
        with self._lock:
            if self._job.status != "InProgress":
                return False
            self._enter("Stopping")
        self._changed.set()
        return True

    def abandon(self) -> None:
        """Ends it without a trace in its record."""
        self._is_abandoned = True
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._tune()
        except AwsError as error:  # a trial cannot be started, as its role or its data are gone
            self._end("Failed", f"ClientError: {error}")
        except Exception:
            log.exception("tuning job %s", self._job.name)
            self._end("Failed", "InternalServerError: local AWS failed; its log says why.")
        finally:
            self._on_end()

    def _tune(self) -> None:
        while not self._is_abandoned:
            self._changed.clear()
            self._collect()
            if end := self._end_reached():
                self._end(*end)
                return
            self._give_up()
            self._launch()
            if not self._is_exhausted or self._running:
                self._changed.wait(self._seconds_left())

    def _collect(self) -> None:
        """Learns from the trials that have ended."""
        for name, (trial, suggestion, training) in list(self._running.items()):
            if not training.is_over:
                continue
            del self._running[name]
            value = objective_of(trial, training)
            self._strategy.tell(suggestion, value)
            is_better = value is not None and improves(value, self._best, self._is_maximised, IMPROVEMENT)
            self._job.not_improving = 0 if is_better else self._job.not_improving + 1
            if value is not None and improves(value, self._best, self._is_maximised):
                self._best = value
            self._touch()

    def _give_up(self) -> None:
        """Stops the trials that are not worth going on with."""
        is_early = self._job.config.get("TrainingJobEarlyStoppingType") == "Auto"
        completed = [
            trial.values
            for trial in self._job.trials
            if (job := training_jobs(self._job.region).get(trial.name)) and job.training_job_status == "Completed"
        ]
        for trial, suggestion, training in self._running.values():
            values = list(trial.values)
            if self._strategy.should_stop(suggestion, values) or (
                is_early and is_worse_than_median(values, completed, self._is_maximised)
            ):
                self._training.interrupt(training)

    def _launch(self) -> None:
        """Starts trials, as many as may run at once."""
        limit = self._limits.get("MaxNumberOfTrainingJobs", MAX_TRIALS)
        while len(self._running) < self._limits["MaxParallelTrainingJobs"] and not self._is_exhausted:
            suggestion = self._strategy.suggest() if len(self._job.trials) < limit else None
            if suggestion is None:
                self._is_exhausted = True
                return
            name = f"{self._job.name}-{len(self._job.trials) + 1:03}-{uuid.uuid4().hex[:8]}"
            trial = Trial(name, suggestion.parameters)
            request = training_request(self._job, name, suggestion.parameters)
            listener = Listener(self._listener_of(trial), self._changed.set)
            training = self._training.start(self._job.region, request, self._job.arn, listener)
            self._job.trials.append(trial)
            self._running[name] = (trial, suggestion, training)
            self._touch()

    def _listener_of(self, trial: Trial) -> Callable[[str, float], None]:
        metric = self._job.objective["MetricName"]

        def on_metric(name: str, value: float) -> None:
            if name == metric:
                trial.values.append(value)
                self._changed.set()

        return on_metric

    def _end_reached(self) -> tuple[str, str] | None:
        """The status that the job ends with now, and the reason where it has failed; None while it goes on."""
        if self._job.status == "Stopping":
            return "Stopped", ""
        progress = Progress(
            ended=len(self._job.trials) - len(self._running),
            best=self._best,
            not_improving=self._job.not_improving,
            is_exhausted=self._is_exhausted and not self._running,
            seconds_left=self._seconds_left(),
        )
        return end_of(self._job.config, progress)

    def _seconds_left(self) -> float | None:
        limit = self._limits.get("MaxRuntimeInSeconds")
        return None if limit is None else max(0.0, self._started + limit - time.monotonic())

    def _end(self, status: str, reason: str) -> None:
        """Stops what still runs, and writes into the record how the job has ended."""
        running = [training for _, _, training in self._running.values()]
        for training in running:
            self._training.interrupt(training)
        while not all(training.is_over for training in running):
            if self._is_abandoned:
                return
            self._changed.wait()
            self._changed.clear()
        with self._lock:
            self._enter(status, **({"FailureReason": reason[:MAX_FAILURE_REASON]} if reason else {}))

    def _enter(self, status: str, **members: Any) -> None:
        runtime = {"RuntimeInSeconds": max(1, round(time.monotonic() - self._started))}
        self._job.enter(status, self._clock.now(), ConsumedResources=runtime, **members)
        self._state.changed("sagemaker", self._job.region)

    def _touch(self) -> None:
        with self._lock:
            self._enter(self._job.status)
