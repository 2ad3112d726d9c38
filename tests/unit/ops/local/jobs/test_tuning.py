from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

#: Its score, which it tells after each of its epochs, is best at 0.7 and at "high"; at "low" it may take its time.
PROGRAM = """
import sys, time
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
x = float(given.get("-x", 0)) + {"low": 0.1, "high": 0.7}.get(given.get("--level"), 0)
for epoch in range(int(given.get("--epochs", 1))):
    print(f"score={1 - abs(x - 0.7):.6f}", flush=True)
    time.sleep(float(given.get("--seconds", 0)))
if given.get("--level") == "low":
    time.sleep(float(given.get("--linger", 0)))
if given.get("--fail"):
    raise SystemExit("no photos")
"""
CONTINUOUS = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
CATEGORICAL = {"CategoricalParameterRanges": [{"Name": "level", "Values": ["low", "high"]}]}


def create(jobs: Any, name: str = "tuning", **changes: Any) -> None:
    """A tuning job of three trials; `static` are further static hyperparameters, the rest changes its configuration."""
    request = jobs.request(PROGRAM)
    static = changes.pop("static", {})
    more = changes.pop("more", {})
    definition = {
        "StaticHyperParameters": {**request["HyperParameters"], **static},
        "AlgorithmSpecification": {
            **request["AlgorithmSpecification"],
            "MetricDefinitions": [{"Name": "score", "Regex": r"score=([0-9.]+)"}],
        },
        **{name: request[name] for name in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")},
    }
    config = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": CONTINUOUS,
        "RandomSeed": 1,
        **changes,
    }
    jobs.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig=config,
        TrainingJobDefinition=definition,
        **more,
    )


def settled(jobs: Any, name: str = "tuning") -> dict[str, Any]:
    """The description of a tuning job once it has ended."""

    def description() -> Any:
        described = jobs.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return described if described["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped") else None

    described: dict[str, Any] = jobs.local_aws.eventually(description)
    return described


def trials(jobs: Any, name: str = "tuning", **options: Any) -> list[dict[str, Any]]:
    """The summaries of a tuning job's training jobs."""
    listed = jobs.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **options
    )
    summaries: list[dict[str, Any]] = listed["TrainingJobSummaries"]
    return summaries


def value_of(trial: dict[str, Any]) -> float:
    value: float = trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    return value


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_trials_are_training_jobs_and_the_best_is_found(jobs: Any, strategy: str) -> None:
    create(jobs, Strategy=strategy, more={"Tags": [{"Key": "team", "Value": "dogs"}]})
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    found = trials(jobs)
    assert [one["TrainingJobName"][:-8] for one in found] == ["tuning-001-", "tuning-002-", "tuning-003-"]
    for one in found:
        x = float(one["TunedHyperParameters"]["x"])
        assert value_of(one) == pytest.approx(1 - abs(x - 0.7), abs=1e-5)
    best = described["BestTrainingJob"]
    assert value_of(best) == max(value_of(one) for one in found)
    assert best["ObjectiveStatus"] == "Succeeded"
    assert described["TrainingJobStatusCounters"]["Completed"] == 3
    assert described["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    assert described["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] == "score"
    training = jobs.sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert training["TuningJobArn"] == described["HyperParameterTuningJobArn"]
    assert training["HyperParameters"]["x"] == best["TunedHyperParameters"]["x"]
    for arn in (training["TrainingJobArn"], described["HyperParameterTuningJobArn"]):
        assert jobs.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "dogs"}]


def test_a_grid_runs_every_combination(jobs: Any) -> None:
    create(jobs, Strategy="Grid", ParameterRanges=CATEGORICAL, ResourceLimits={"MaxParallelTrainingJobs": 1})
    described = settled(jobs)
    assert [one["TunedHyperParameters"]["level"] for one in trials(jobs)] == ["low", "high"]
    assert described["BestTrainingJob"]["TunedHyperParameters"] == {"level": "high"}


def test_hyperband_stops_trials_when_their_epochs_are_used_up(jobs: Any) -> None:
    hyperband = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}}
    create(
        jobs,
        Strategy="Hyperband",
        StrategyConfig=hyperband,
        ResourceLimits={"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
        static={"epochs": "1000", "seconds": "0.05"},
    )
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["TrainingJobStatusCounters"]["Stopped"] == 2
    assert described["ObjectiveStatusCounters"]["Succeeded"] == 2


def test_the_smallest_is_best_where_that_is_asked_for(jobs: Any) -> None:
    objective = {"Type": "Minimize", "MetricName": "score"}
    create(jobs, HyperParameterTuningJobObjective=objective)
    described = settled(jobs)
    assert value_of(described["BestTrainingJob"]) == min(value_of(one) for one in trials(jobs))


def test_no_more_trials_run_at_once_than_may(jobs: Any) -> None:
    create(jobs, static={"epochs": "3", "seconds": "0.1"})
    settled(jobs)
    found = trials(jobs)
    spans = [(one["CreationTime"], one["TrainingEndTime"]) for one in found]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert max(at_once) == 2


def test_a_trial_below_the_median_is_stopped_early(jobs: Any) -> None:
    create(
        jobs,
        Strategy="Grid",
        ParameterRanges={"CategoricalParameterRanges": [{"Name": "level", "Values": ["high", "low"]}]},
        ResourceLimits={"MaxParallelTrainingJobs": 1},
        TrainingJobEarlyStoppingType="Auto",
        static={"epochs": "3", "linger": "60"},
    )
    settled(jobs)
    assert [one["TrainingJobStatus"] for one in trials(jobs)] == ["Completed", "Stopped"]


def test_a_target_that_is_reached_completes_the_job(jobs: Any) -> None:
    create(
        jobs,
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.1},
    )
    assert settled(jobs)["HyperParameterTuningJobStatus"] == "Completed"
    assert len(trials(jobs)) == 1


def test_trials_that_do_not_improve_complete_the_job(jobs: Any) -> None:
    create(
        jobs,
        ParameterRanges={"CategoricalParameterRanges": [{"Name": "level", "Values": ["high"]}]},
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}},
    )
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] == 3
    assert len(trials(jobs)) == 4


def test_a_job_whose_trials_all_fail_gives_up_after_five(jobs: Any) -> None:
    create(
        jobs,
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        static={"fail": "1"},
    )
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Failed"
    assert described["FailureReason"].startswith("No training job succeeded after 5 attempts.")
    assert described["TrainingJobStatusCounters"]["NonRetryableError"] == 5
    assert described["ObjectiveStatusCounters"]["Failed"] == 5
    assert "BestTrainingJob" not in described


def test_stopping_a_job_stops_its_trials(jobs: Any) -> None:
    create(jobs, static={"epochs": "1000", "seconds": "0.05"})
    jobs.local_aws.eventually(lambda: len(jobs.local_aws.gateway.status()["jobs"]) == 2)
    stop = jobs.sagemaker.stop_hyper_parameter_tuning_job
    stop(HyperParameterTuningJobName="tuning")
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Stopped"
    assert described["TrainingJobStatusCounters"]["Stopped"] == 2
    assert jobs.local_aws.gateway.status()["jobs"] == []
    with pytest.raises(ClientError, match="because the tuning job is in status Stopped"):
        stop(HyperParameterTuningJobName="tuning")


def test_a_job_can_start_from_what_another_has_learned(jobs: Any) -> None:
    create(jobs)
    first = settled(jobs)
    warm_start = {
        "WarmStartType": "IdenticalDataAndAlgorithm",
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "tuning"}],
    }
    worse = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "0.01"}]}
    create(jobs, "next", ParameterRanges=worse, Strategy="Bayesian", more={"WarmStartConfig": warm_start})
    described = settled(jobs, "next")
    assert described["OverallBestTrainingJob"]["TuningJobName"] == "tuning"
    assert described["OverallBestTrainingJob"]["TrainingJobName"] == first["BestTrainingJob"]["TrainingJobName"]
    assert described["BestTrainingJob"]["TuningJobName"] == "next"


def test_jobs_and_their_trials_are_listed(jobs: Any) -> None:
    create(jobs, "beta")
    create(jobs, "alpha", static={"fail": "1"})
    settled(jobs, "beta")
    settled(jobs, "alpha")

    def names(**options: Any) -> list[str]:
        listed = jobs.sagemaker.list_hyper_parameter_tuning_jobs(**options)["HyperParameterTuningJobSummaries"]
        return [one["HyperParameterTuningJobName"] for one in listed]

    assert names() == ["alpha", "beta"]
    assert names(SortBy="CreationTime") == ["beta", "alpha"]
    assert names(StatusEquals="Failed") == ["alpha"]
    assert names(NameContains="bet") == ["beta"]
    by_value = trials(jobs, "beta", SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert [value_of(one) for one in by_value] == sorted(map(value_of, trials(jobs, "beta")), reverse=True)
    assert trials(jobs, "alpha", SortBy="FinalObjectiveMetricValue") == []
    assert len(trials(jobs, "alpha", StatusEquals="Failed")) == 3


def test_the_record_can_be_deleted_and_the_training_jobs_stay(jobs: Any) -> None:
    create(jobs, static={"epochs": "1000", "seconds": "0.05"})
    delete = jobs.sagemaker.delete_hyper_parameter_tuning_job
    with pytest.raises(ClientError, match="cannot be deleted"):
        delete(HyperParameterTuningJobName="tuning")
    jobs.local_aws.eventually(lambda: len(trials(jobs)) == 2)
    jobs.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="tuning")
    settled(jobs)
    delete(HyperParameterTuningJobName="tuning")
    missing = jobs.sagemaker.exceptions.ResourceNotFound
    with pytest.raises(missing, match="can't find a tuning job with the name tuning"):
        jobs.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tuning")
    assert len(jobs.sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 2


def test_a_name_is_used_once(jobs: Any) -> None:
    create(jobs)
    with pytest.raises(jobs.sagemaker.exceptions.ResourceInUse):
        create(jobs)
    settled(jobs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Strategy": "Grid"}, "categorical"),
        (
            {"Strategy": "Grid", "ParameterRanges": CATEGORICAL},
            "MaxNumberOfTrainingJobs must be 2, the number of combinations",
        ),
        ({"Strategy": "Hyperband"}, "needs MaxResource"),
        (
            {"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto", "static": {"epochs": "3"}},
            "must be Off for Hyperband",
        ),
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "other"}}, "one of the metric def"),
        ({"static": {"x": "1"}}, "both static and tuned: x"),
        ({"static": {"sagemaker_program": ""}}, "Local AWS runs no images"),
        ({"more": {"Autotune": {"Mode": "Enabled"}}}, "does not support Autotune"),
        (
            {
                "more": {
                    "WarmStartConfig": {
                        "WarmStartType": "TransferLearning",
                        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "none"}],
                    }
                }
            },
            "Parent tuning job none does not exist",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused_at_once(jobs: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as refused:
        create(jobs, **changes)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert jobs.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []


def test_what_ran_when_local_aws_ended_has_failed(jobs: Any) -> None:
    create(jobs, static={"epochs": "1000", "seconds": "0.05"})
    jobs.local_aws.eventually(lambda: len(trials(jobs)) == 2)
    service = jobs.local_aws.gateway._jobs
    service.stop()
    service.resume()
    described = settled(jobs)
    assert described["HyperParameterTuningJobStatus"] == "Failed"
    assert described["FailureReason"] == "InternalServerError: local AWS ended while the job ran."
    assert described["TrainingJobStatusCounters"]["NonRetryableError"] == 2
