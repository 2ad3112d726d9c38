"""SageMaker's hyperparameter tuning jobs: their operations, and the trials that they start.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.jobs import strategies
from whippet.local.jobs.listing import page
from whippet.local.jobs.records import TuningJob, regions, training_jobs, tuning_jobs
from whippet.local.jobs.strategies import Grid, Search, Strategy
from whippet.local.jobs.training import INTERRUPTED, TrainingJobs
from whippet.local.jobs.trials import METRIC, describe, objective_of, summarise, training_request, trial_summaries
from whippet.local.jobs.tuning_run import TuningRun
from whippet.local.jobs.validation import check
from whippet.local.services import Forward, Handlers
from whippet.local.state import State


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
            [summarise(job) for job in list(tuning_jobs(call.region).values())],
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
        if call.params.get("SortBy") == "FinalObjectiveMetricValue":
            found = [one for one in found if METRIC in one]
        shown, token = page(
            found,
            call.params,
            {
                "CreationTime": lambda one: one["CreationTime"],
                "FinalObjectiveMetricValue": lambda one: one[METRIC]["Value"],
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
