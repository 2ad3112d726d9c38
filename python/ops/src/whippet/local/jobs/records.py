"""What is remembered of training and tuning jobs: in moto's own dictionaries, where its tags and its search look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from moto.sagemaker.models import sagemaker_backends

from whippet.local.settings import ACCOUNT

#: AWS's limit, https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
MAX_FAILURE_REASON = 1024

#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_SecondaryStatusTransition.html; the texts of those that
#: the page does not list are what `aws sagemaker` users see in the logs of the SDK.
STATUS_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
}
#: Secondary statuses that end a job, and the status that it has then.
ENDS = {"Completed": "Completed", "Failed": "Failed", "Stopped": "Stopped", "MaxRuntimeExceeded": "Stopped"}


@dataclass
class TrainingJob:
    """A training job.

    Attributes:
        region: where it is.
        tags: as SageMaker lists them.
        description: the answer of DescribeTrainingJob; replaced as a whole, so that readers need no lock.
    """

    region: str
    tags: list[dict[str, str]]
    description: dict[str, Any]

    @property
    def training_job_name(self) -> str:
        """Its name; moto's search knows it under this one."""
        return str(self.description["TrainingJobName"])

    @property
    def training_job_status(self) -> str:
        """Its status; moto's search knows it under this name."""
        return str(self.description["TrainingJobStatus"])

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.description["TrainingJobArn"])

    @property
    def role_arn(self) -> str:
        """The role that it works with."""
        return str(self.description["RoleArn"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.training_job_status in ("Completed", "Failed", "Stopped")

    def gen_response_object(self) -> dict[str, Any]:
        """What moto's search tells of it."""
        return self.description

    def enter(self, secondary: str, now: datetime, **members: Any) -> None:
        """Goes into a secondary status, and with it into the status that this one means.

        Args:
            secondary: the secondary status.
            now: when.
            members: further members of the description that change.
        """
        transitions = [dict(one) for one in self.description.get("SecondaryStatusTransitions", [])]
        if transitions:
            transitions[-1]["EndTime"] = now
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": STATUS_MESSAGES[secondary]})
        status = "Stopping" if secondary == "Stopping" else ENDS.get(secondary)
        if secondary in ENDS:
            transitions[-1]["EndTime"] = now
        self.description = {
            **self.description,
            **members,
            **({"TrainingJobStatus": status} if status else {}),
            "SecondaryStatus": secondary,
            "SecondaryStatusTransitions": transitions,
            "LastModifiedTime": now,
        }


@dataclass
class Trial:
    """A training job that a tuning job has launched.

    Attributes:
        name: of the training job.
        parameters: the hyperparameters that were chosen for it.
        values: the values of the objective metric, in the order in which the job told them.
    """

    name: str
    parameters: dict[str, str]
    values: list[float] = field(default_factory=list)


@dataclass
class TuningJob:
    """A hyperparameter tuning job.

    Attributes:
        region: where it is.
        tags: as SageMaker lists them.
        description: those members of DescribeHyperParameterTuningJob's answer that do not follow from the trials;
            replaced as a whole, so that readers need no lock.
        trials: in the order of their launch.
        not_improving: how many trials have ended since the last that made the best one better by 1 %.
    """

    region: str
    tags: list[dict[str, str]]
    description: dict[str, Any]
    trials: list[Trial] = field(default_factory=list)
    not_improving: int = 0

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.description["HyperParameterTuningJobName"])

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.description["HyperParameterTuningJobArn"])

    @property
    def status(self) -> str:
        """Its status."""
        return str(self.description["HyperParameterTuningJobStatus"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in ("Completed", "Failed", "Stopped")

    @property
    def config(self) -> dict[str, Any]:
        """What it was told to do."""
        config: dict[str, Any] = self.description["HyperParameterTuningJobConfig"]
        return config

    @property
    def objective(self) -> dict[str, str]:
        """Type and MetricName of what it makes large or small."""
        objective: dict[str, str] = self.config["HyperParameterTuningJobObjective"]
        return objective

    def enter(self, status: str, now: datetime, **members: Any) -> None:
        """Goes into a status."""
        ended = {"HyperParameterTuningEndTime": now} if status in ("Completed", "Failed", "Stopped") else {}
        self.description = {
            **self.description,
            **ended,
            **members,
            "HyperParameterTuningJobStatus": status,
            "LastModifiedTime": now,
        }


def training_jobs(region: str) -> dict[str, TrainingJob]:
    """The training jobs of a region, by name."""
    return cast("dict[str, TrainingJob]", sagemaker_backends[ACCOUNT][region].training_jobs)


def tuning_jobs(region: str) -> dict[str, TuningJob]:
    """The tuning jobs of a region, by name."""
    return cast("dict[str, TuningJob]", sagemaker_backends[ACCOUNT][region].hyper_parameter_tuning_jobs)


def regions() -> Iterator[str]:
    """The regions that have records."""
    yield from list(sagemaker_backends[ACCOUNT])
