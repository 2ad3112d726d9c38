"""The trials of a tuning job: the training jobs that it asks for, and what is told of them.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeHyperParameterTuningJob.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from whippet.local.jobs.listing import Summary
from whippet.local.jobs.records import TrainingJob, Trial, TuningJob, training_jobs, tuning_jobs

METRIC = "FinalHyperParameterTuningJobObjectiveMetric"

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
        if definition := job.description["TrainingJobDefinition"].get("DefinitionName"):
            summary["TrainingJobDefinitionName"] = definition
        summary["TunedHyperParameters"] = trial.parameters
        summary["ObjectiveStatus"] = "Pending" if not training.is_over else "Failed" if value is None else "Succeeded"
        if value is not None:
            summary[METRIC] = {**job.objective, "Value": value}
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
    found = [
        {**summary, "TuningJobName": job.name}
        for job in jobs
        for summary in trial_summaries(job).values()
        if METRIC in summary
    ]
    choose = max if jobs[0].objective["Type"] == "Maximize" else min
    return choose(found, key=lambda one: one[METRIC]["Value"]) if found else None


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


def summarise(job: TuningJob) -> Summary:
    """HyperParameterTuningJobSummary."""
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
