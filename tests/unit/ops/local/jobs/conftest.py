"""Training jobs with small programs."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6-cpu-py312"


@dataclass
class Jobs:
    """What the tests of training and tuning jobs need.

    Attributes:
        local_aws: runs them.
        role: may read and write the bucket `project`, and log.
    """

    local_aws: Any
    role: str

    @property
    def sagemaker(self) -> Any:
        return self.local_aws.client("sagemaker")

    @property
    def s3(self) -> Any:
        return self.local_aws.client("s3")

    def put(self, objects: dict[str, bytes | str]) -> None:
        """Puts objects into the bucket."""
        for key, body in objects.items():
            self.s3.put_object(Bucket="project", Key=key, Body=body)

    def keys(self, prefix: str = "models/") -> list[str]:
        listed = self.s3.list_objects_v2(Bucket="project", Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in listed]

    def upload_program(self, source: str, name: str = "train.py", archive: str = "code") -> str:
        """An archive with one program; its place in S3."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(source.encode())
            tar.addfile(member, io.BytesIO(source.encode()))
        self.s3.put_object(Bucket="project", Key=f"{archive}.tar.gz", Body=packed.getvalue())
        return f"s3://project/{archive}.tar.gz"

    def request(self, source: str, **changes: Any) -> dict[str, Any]:
        """CreateTrainingJob's parameters for a program."""
        request: dict[str, Any] = {
            "TrainingJobName": "job",
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": self.upload_program(source),
            },
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": self.role,
            "OutputDataConfig": {"S3OutputPath": "s3://project/models"},
            "ResourceConfig": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
        for member, value in changes.items():
            request[member] = {**request[member], **value} if isinstance(request.get(member), dict) else value
        return request

    def start(self, source: str, **changes: Any) -> str:
        """Starts a job; its name."""
        request = self.request(source, **changes)
        self.sagemaker.create_training_job(**request)
        name: str = request["TrainingJobName"]
        return name

    def run(self, source: str, **changes: Any) -> dict[str, Any]:
        """Runs a job to its end; its description."""
        return self.ended(self.start(source, **changes))

    def ended(self, name: str = "job", timeout: float = 20.0) -> dict[str, Any]:
        """The description of a job once it has ended."""

        def description() -> Any:
            described = self.sagemaker.describe_training_job(TrainingJobName=name)
            return described if described["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        described: dict[str, Any] = self.local_aws.eventually(description, timeout)
        return described

    def in_training(self, name: str = "job", line: str = "") -> None:
        """Waits until a job's program runs, and has said something."""

        def says() -> bool:
            described = self.sagemaker.describe_training_job(TrainingJobName=name)
            assert described["TrainingJobStatus"] == "InProgress", described
            return described["SecondaryStatus"] == "Training" and (not line or line in self.logged(name))

        self.local_aws.eventually(says)

    def logged(self, name: str = "job") -> list[str]:
        """What a job has logged."""
        logs = self.local_aws.client("logs")
        try:
            events = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events if event["logStreamName"].startswith(f"{name}/")]

    def archived(self, key: str) -> dict[str, bytes]:
        """The files in a tar.gz of the bucket."""
        body = self.s3.get_object(Bucket="project", Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]

    def reported(self, name: str = "job") -> Any:
        """What a program has written to report.json beside its model."""
        return json.loads(self.archived(f"models/{name}/output/model.tar.gz")["report.json"])


@pytest.fixture
def jobs(local_aws: Any) -> Jobs:
    allow: Callable[..., dict[str, Any]] = local_aws.allow
    role = local_aws.create_role(
        "training",
        allow("s3:ListBucket", "arn:aws:s3:::project"),
        allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::project/*"),
        allow("logs:*", "arn:aws:logs:*:*:log-group:/aws/sagemaker/*"),
    )
    local_aws.client("s3").create_bucket(Bucket="project")
    return Jobs(local_aws, role)
