"""SageMaker's hyperparameter tuning jobs: their operations, and the trials that they start.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.jobs import strategies
from whippet.local.jobs.listing import Summary, page
from whippet.local.jobs.records import (
    MAX_FAILURE_REASON,
    TrainingJob,
    Trial,
    TuningJob,
    regions,
    training_jobs,
    tuning_jobs,
)
from whippet.local.jobs.run import Listener
from whippet.local.jobs.strategies import Grid, Search, Strategy, Suggestion, improves
from whippet.local.jobs.training import INTERRUPTED, TrainingJobs
from whippet.local.jobs.validation import check
from whippet.local.services import Forward, Handlers
from whippet.local.state import State

log = logging.getLogger(__name__)

#: SageMaker gives a tuning job up when this many trials have ended and none has succeeded.
ATTEMPTS = 5
#: The most trials of a tuning job, https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html
MAX_TRIALS = 750
#: By how much a trial must be better to count as an improvement,
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_BestObjectiveNotImproving.html
IMPROVEMENT = 0.01


class TuningJobs:
    """All tuning jobs of local AWS.

    Args:
        training: runs their trials.
        clock: tells when something happens.
        state: saves the records.
    """

    def __init__(self, training: TrainingJobs, clock: Clock, state: State) -> None:
        self._training = training
        self._clock = clock
        self._state = state
        self._runs: dict[tuple[str, str], TuningRun] = {}
        self._lock = threading.Lock()

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return {
            ("sagemaker", "CreateHyperParameterTuningJob"): self.create,
            ("sagemaker", "DeleteHyperParameterTuningJob"): self.delete,
            ("sagemaker", "DescribeHyperParameterTuningJob"): self.describe,
            ("sagemaker", "ListHyperParameterTuningJobs"): self.list_jobs,
            ("sagemaker", "ListTrainingJobsForHyperParameterTuningJob"): self.list_trials,
            ("sagemaker", "StopHyperParameterTuningJob"): self.stop_job,
        }

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateHyperParameterTuningJob: the record at once, the trials in the background."""
        check(call)
        job = self._record(call)
        try:
            _check_support(call.params)
            plan = strategy_of(job)
        except ValueError as error:
            raise AwsError("ValidationException", str(error)) from None
        self._training.validate(call.region, training_request(job, "trial", {}))

        def on_end() -> None:
            with self._lock:  # by now another job may have its name
                if self._runs.get((call.region, job.name)) is run:
                    del self._runs[call.region, job.name]

        run = TuningRun(job, plan, self._training, self._clock, self._state, on_end)
        with self._lock:
            if job.name in tuning_jobs(call.region):
                message = f"A hyper parameter tuning job with this name already exists ({job.arn})"
                raise AwsError("ResourceInUse", message)
            tuning_jobs(call.region)[job.name] = job
            self._runs[call.region, job.name] = run
            run.start()
        return answer(call, {"HyperParameterTuningJobArn": job.arn})

    def describe(self, call: Call, forward: Forward) -> Response:
        """DescribeHyperParameterTuningJob."""
        return answer(call, describe(self._find(call)))

    def list_jobs(self, call: Call, forward: Forward) -> Response:
        """ListHyperParameterTuningJobs."""
        check(call)
        found, token = page(
            [_summary(job) for job in list(tuning_jobs(call.region).values())],
            call.params,
            {
                "CreationTime": lambda one: one["CreationTime"],
                "Name": lambda one: one["HyperParameterTuningJobName"],
                "Status": lambda one: one["HyperParameterTuningJobStatus"],
            },
            "Name",
        )
        return answer(call, {"HyperParameterTuningJobSummaries": found, "NextToken": token})

    def list_trials(self, call: Call, forward: Forward) -> Response:
        """ListTrainingJobsForHyperParameterTuningJob."""
        found = list(trial_summaries(self._find(call)).values())
        metric = "FinalHyperParameterTuningJobObjectiveMetric"
        if call.params.get("SortBy") == "FinalObjectiveMetricValue":
            found = [one for one in found if metric in one]
        shown, token = page(
            found,
            call.params,
            {
                "CreationTime": lambda one: one["CreationTime"],
                "FinalObjectiveMetricValue": lambda one: one[metric]["Value"],
                "Name": lambda one: one["TrainingJobName"],
                "Status": lambda one: one["TrainingJobStatus"],
            },
            "Name",
        )
        return answer(call, {"TrainingJobSummaries": shown, "NextToken": token})

    def stop_job(self, call: Call, forward: Forward) -> Response:
        """StopHyperParameterTuningJob: no more trials, and those that run are stopped."""
        job = self._find(call)
        run = self._runs.get((call.region, job.name))
        if run is None or not run.stop():
            raise AwsError(
                "ValidationException", f"The request was rejected because the tuning job is in status {job.status}."
            )
        return answer(call)

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteHyperParameterTuningJob: the record alone; its training jobs stay."""
        check(call)
        name = call.params["HyperParameterTuningJobName"]
        job = tuning_jobs(call.region).get(name)
        if job is not None and not job.is_over:
            message = f"The tuning job {job.arn} is in status {job.status} and cannot be deleted."
            raise AwsError("ValidationException", message)
        tuning_jobs(call.region).pop(name, None)
        return answer(call)

    def resume(self) -> None:
        """Ends, on record, what ran when local AWS ended."""
        for region in regions():
            for job in [job for job in tuning_jobs(region).values() if not job.is_over]:
                job.enter("Failed", self._clock.now(), FailureReason=INTERRUPTED)
                self._state.changed("sagemaker", region)

    def stop(self) -> None:
        """Ends every thread; the trials are left to who runs them."""
        while runs := list(self._runs.values()):
            for run in runs:
                run.abandon()

    def _find(self, call: Call) -> TuningJob:
        check(call)
        name = call.params["HyperParameterTuningJobName"]
        job = tuning_jobs(call.region).get(name)
        if job is None:
            raise AwsError("ResourceNotFound", f"Amazon SageMaker can't find a tuning job with the name {name}.")
        return job

    def _record(self, call: Call) -> TuningJob:
        params, now = call.params, self._clock.now()
        name = params["HyperParameterTuningJobName"]
        definition = dict(params.get("TrainingJobDefinition", {}))
        objective = params["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective", {})
        definition["StaticHyperParameters"] = {
            **definition.get("StaticHyperParameters", {}),
            "_tuning_objective_metric": objective.get("MetricName", ""),
        }
        description = {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobArn": call.arn(f"hyper-parameter-tuning-job/{name}"),
            "HyperParameterTuningJobConfig": params["HyperParameterTuningJobConfig"],
            "TrainingJobDefinition": definition,
            "HyperParameterTuningJobStatus": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        if "WarmStartConfig" in params:
            description["WarmStartConfig"] = params["WarmStartConfig"]
        return TuningJob(call.region, list(params.get("Tags") or []), description)


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
                is_early and strategies.is_worse_than_median(values, completed, self._is_maximised)
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
        ended = len(self._job.trials) - len(self._running)
        best = self._best
        criteria = self._job.config.get("TuningJobCompletionCriteria", {})
        target = criteria.get("TargetObjectiveMetricValue")
        patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if self._job.status == "Stopping":
            return "Stopped", ""
        if best is None and (ended >= ATTEMPTS or (self._is_exhausted and not self._running)):
            return "Failed", (
                f"No training job succeeded after {ended} attempts. For additional details, please take a look at the "
                "training job failures by listing training jobs for the hyperparameter tuning job."
            )
        is_done = (
            (self._is_exhausted and not self._running)
            or (target is not None and best is not None and not improves(target, best, self._is_maximised))
            or (patience is not None and self._job.not_improving >= patience)
            or self._seconds_left() == 0
        )
        return ("Completed", "") if is_done else None

    def _seconds_left(self) -> float | None:
        limit = self._limits.get("MaxRuntimeInSeconds")
        return None if limit is None else max(0.0, self._started + limit - time.monotonic())

    def _end(self, status: str, reason: str) -> None:
        """Stops what still runs, and writes into the record how the job has ended."""
        for _, _, training in self._running.values():
            self._training.interrupt(training)
        while any(not training.is_over for _, _, training in self._running.values()):
            if self._is_abandoned:
                return
            self._changed.wait()
            self._changed.clear()
        self._collect()
        if self._is_abandoned:
            return
        with self._lock:
            self._enter(status, **({"FailureReason": reason[:MAX_FAILURE_REASON]} if reason else {}))

    def _enter(self, status: str, **members: Any) -> None:
        runtime = {"RuntimeInSeconds": max(1, round(time.monotonic() - self._started))}
        self._job.enter(status, self._clock.now(), ConsumedResources=runtime, **members)
        self._state.changed("sagemaker", self._job.region)

    def _touch(self) -> None:
        with self._lock:
            self._enter(self._job.status)


def strategy_of(job: TuningJob) -> Strategy:
    """What chooses the hyperparameters of a job.

    Raises:
        ValueError: it is asked for what its strategy cannot do.
    """
    config, name = job.config, job.config["Strategy"]
    static = job.description["TrainingJobDefinition"]["StaticHyperParameters"]
    ranges = strategies.read_ranges(config.get("ParameterRanges", {}))
    if both := sorted({one.name for one in ranges} & set(static)):
        raise ValueError(f"Hyperparameters cannot be both static and tuned: {', '.join(both)}.")
    limits = config["ResourceLimits"]
    if name == "Grid":
        count = strategies.combinations(ranges)
        if limits.get("MaxNumberOfTrainingJobs", count) != count:
            raise ValueError(f"MaxNumberOfTrainingJobs must be {count}, the number of combinations, for Grid search.")
        return Grid(ranges)
    resources = None
    if name == "Hyperband":
        if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
            raise ValueError("TrainingJobEarlyStoppingType must be Off for Hyperband, which stops jobs by itself.")
        hyperband = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
        resources = strategies.hyperband_resources(hyperband, static)
    search = Search(
        name,
        ranges,
        is_maximised=job.objective["Type"] == "Maximize",
        seed=config.get("RandomSeed"),
        resources=resources,
    )
    for parent in _parents(job):
        for trial in parent.trials:
            value = objective_of(trial, training_jobs(job.region).get(trial.name))
            if value is not None:
                search.learn(trial.parameters, value)
    return search


def _parents(job: TuningJob) -> list[TuningJob]:
    found = []
    for one in job.description.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
        name = one.get("HyperParameterTuningJobName", "")
        parent = tuning_jobs(job.region).get(name)
        if parent is None or not parent.is_over:
            raise ValueError(f"Parent tuning job {name} does not exist or has not ended.")
        if parent.objective != job.objective:
            raise ValueError(f"Parent tuning job {name} has another objective metric.")
        found.append(parent)
    return found


def _check_support(params: Mapping[str, Any]) -> None:
    config = params["HyperParameterTuningJobConfig"]
    for name in ("TrainingJobDefinitions", "Autotune"):
        if params.get(name):
            raise ValueError(f"Local AWS does not support {name}.")
    if not params.get("TrainingJobDefinition"):
        raise ValueError("TrainingJobDefinition must be specified.")
    objective = config.get("HyperParameterTuningJobObjective")
    if not objective:
        raise ValueError("HyperParameterTuningJobObjective must be specified.")
    definitions = params["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions", [])
    if objective["MetricName"] not in [one["Name"] for one in definitions]:
        raise ValueError(f"The objective metric {objective['MetricName']} must be one of the metric definitions.")


#: What a trial takes over from its definition as it is.
DEFINITION_MEMBERS = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
)


def training_request(job: TuningJob, name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of CreateTrainingJob for a trial."""
    definition = job.description["TrainingJobDefinition"]
    request = {member: definition[member] for member in DEFINITION_MEMBERS if member in definition}
    if several := definition.get("HyperParameterTuningResourceConfig"):
        request["ResourceConfig"] = {
            member: value
            for member, value in {**several, **several.get("InstanceConfigs", [{}])[0]}.items()
            if member not in ("AllocationStrategy", "InstanceConfigs")
        }
    if checkpoints := definition.get("CheckpointConfig"):
        # Trials run at once, and must not take one another's checkpoints for their own.
        request["CheckpointConfig"] = {**checkpoints, "S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{name}"}
    return {
        **request,
        "TrainingJobName": name,
        "HyperParameters": {**definition["StaticHyperParameters"], **parameters},
        "Tags": job.tags,
    }


def objective_of(trial: Trial, training: TrainingJob | None) -> float | None:
    """The final objective metric of a trial; None while it runs, and where it has none that counts."""
    if training is None or training.training_job_status not in ("Completed", "Stopped") or not trial.values:
        return None
    return trial.values[-1]


def trial_summaries(job: TuningJob) -> dict[str, Summary]:
    """HyperParameterTrainingJobSummary of each trial whose training job is on record, by name."""
    summaries: dict[str, Summary] = {}
    for trial in list(job.trials):
        training = training_jobs(job.region).get(trial.name)
        if training is None:
            continue
        value = objective_of(trial, training)
        members = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime")
        optional = ("TrainingJobStatus", "FailureReason")
        known = training.description
        summary = {member: known[member] for member in (*members, *optional) if member in known}
        summary["TunedHyperParameters"] = trial.parameters
        summary["ObjectiveStatus"] = "Pending" if not training.is_over else "Failed" if value is None else "Succeeded"
        if value is not None:
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = {**job.objective, "Value": value}
        summaries[trial.name] = summary
    return summaries


def describe(job: TuningJob) -> dict[str, Any]:
    """The answer of DescribeHyperParameterTuningJob."""
    summaries = trial_summaries(job)
    described = {
        **job.description,
        **_counters(summaries),
        "TuningJobCompletionDetails": {"NumberOfTrainingJobsObjectiveNotImproving": job.not_improving},
    }
    if best := _best([job]):
        described["BestTrainingJob"] = best
    warm_start = job.description.get("WarmStartConfig", {})
    if warm_start.get("WarmStartType") == "IdenticalDataAndAlgorithm":
        parents = [one["HyperParameterTuningJobName"] for one in warm_start["ParentHyperParameterTuningJobs"]]
        known = [parent for name in parents if (parent := tuning_jobs(job.region).get(name))]
        if best := _best([job, *known]):
            described["OverallBestTrainingJob"] = best
    return described


def _best(jobs: list[TuningJob]) -> Summary | None:
    """The best trial of some jobs with one objective."""
    metric = "FinalHyperParameterTuningJobObjectiveMetric"
    found = [
        {**summary, "TuningJobName": job.name}
        for job in jobs
        for summary in trial_summaries(job).values()
        if metric in summary
    ]
    choose = max if jobs[0].objective["Type"] == "Maximize" else min
    return choose(found, key=lambda one: one[metric]["Value"]) if found else None


def _counters(summaries: Mapping[str, Summary]) -> dict[str, dict[str, int]]:
    statuses = Counter(one["TrainingJobStatus"] for one in summaries.values())
    # Only an internal error of SageMaker's could be retried, and here there is none.
    objectives = Counter(one["ObjectiveStatus"] for one in summaries.values())
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses["Completed"],
            "InProgress": statuses["InProgress"] + statuses["Stopping"],
            "RetryableError": 0,
            "NonRetryableError": statuses["Failed"],
            "Stopped": statuses["Stopped"],
        },
        "ObjectiveStatusCounters": {name: objectives[name] for name in ("Succeeded", "Pending", "Failed")},
    }


def _summary(job: TuningJob) -> Summary:
    members = (
        "HyperParameterTuningJobName",
        "HyperParameterTuningJobArn",
        "HyperParameterTuningJobStatus",
        "CreationTime",
        "HyperParameterTuningEndTime",
        "LastModifiedTime",
    )
    return {
        **{member: job.description[member] for member in members if member in job.description},
        **_counters(trial_summaries(job)),
        "Strategy": job.config["Strategy"],
        "ResourceLimits": job.config["ResourceLimits"],
    }
