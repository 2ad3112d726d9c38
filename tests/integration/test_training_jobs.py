"""Training jobs on local AWS that are interrupted, and that have several instances."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.ports import free_port
from whippet.local import control
from whippet_training.sample import Picture, draw

ROOT = Path(__file__).parents[2]
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6-cpu-py312"
SIZES = {"train": 8, "valid": 3, "test": 3}


class Jobs:
    """Local AWS with photos, the training package and a role."""

    def __init__(self, port: int) -> None:
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        self.s3, self.sagemaker, iam = (
            session.client(service, endpoint_url=control.url(port))  # type: ignore[call-overload]
            for service in ("s3", "sagemaker", "iam")
        )
        self.s3.create_bucket(Bucket="project")
        for split, count in SIZES.items():
            for animal in ("bee", "owl"):
                for number in range(count):
                    key = f"photos/{split}/{animal}/{number}.jpg"
                    self.s3.put_object(Bucket="project", Key=key, Body=draw(Picture(split, animal, number)))
        subprocess.run([sys.executable, "scripts/build_training.py"], cwd=ROOT, check=True)
        self.s3.upload_file(str(ROOT / "build/training.tar.gz"), "project", "code.tar.gz")
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}
        allowed = {"Effect": "Allow", "Action": ["s3:*", "logs:*"], "Resource": "*"}
        self.role = iam.create_role(RoleName="jobs", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName="jobs", PolicyName="all", PolicyDocument=_policy(allowed))

    def start(self, name: str, instances: int = 1, checkpoints: str = "checkpoints", epochs: int = 5) -> None:
        photos = {"S3DataType": "S3Prefix", "S3Uri": "s3://project/photos/"}
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            HyperParameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://project/code.tar.gz",
                "backbone": "tf_efficientnet_lite0",
                "epochs": str(epochs),
                "patience": str(epochs),
            },
            AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            RoleArn=self.role,
            InputDataConfig=[{"ChannelName": "training", "DataSource": {"S3DataSource": photos}}],
            OutputDataConfig={"S3OutputPath": "s3://project/models"},
            ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": instances, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200},
            EnableManagedSpotTraining=True,
            CheckpointConfig={"S3Uri": f"s3://project/{checkpoints}"},
            Environment={"WHIPPET_CACHE": "/opt/ml/checkpoints"},
        )

    def wait(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
            if described["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"):
                return described
            time.sleep(0.2)
        raise AssertionError("the job has not ended")

    def keys(self, prefix: str) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket="project", Prefix=prefix).get("Contents", [])]

    def read(self, name: str, archive: str, member: str) -> dict[str, Any]:
        body = self.s3.get_object(Bucket="project", Key=f"models/{name}/output/{archive}")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as packed:
            document: dict[str, Any] = json.load(packed.extractfile(member))  # type: ignore[arg-type]
        return document


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_HOME", str(tmp_path_factory.mktemp("whippet")))
        control.up(port)
        yield Jobs(port)
        control.down(port)


def test_a_stopped_job_goes_on_in_the_next_and_two_instances_make_the_same_model(jobs: Jobs) -> None:
    jobs.start("stopped", epochs=1_000_000)  # longer than the test: it is stopped before it has a model
    while not jobs.keys("checkpoints/"):
        assert jobs.sagemaker.describe_training_job(TrainingJobName="stopped")["TrainingJobStatus"] == "InProgress"
        time.sleep(0.05)
    jobs.sagemaker.stop_training_job(TrainingJobName="stopped")
    assert jobs.wait("stopped")["TrainingJobStatus"] == "Stopped"
    assert not jobs.keys("models/stopped/")

    jobs.start("resumed")
    described = jobs.wait("resumed")
    assert described["TrainingJobStatus"] == "Completed", described
    resumed = jobs.read("resumed", "output.tar.gz", "metrics.json")
    assert resumed["features"]["cached"] > 0

    jobs.start("pair", instances=2, checkpoints="pair")
    described = jobs.wait("pair")
    assert described["TrainingJobStatus"] == "Completed", described
    pair = jobs.read("pair", "output.tar.gz", "metrics.json")
    assert pair["features"] == {"computed": 28, "cached": 0}
    assert [pair[key] for key in ("trials", "valid", "test")] == [resumed[key] for key in ("trials", "valid", "test")]
    # each instance has kept its own part, and the next job on any number of them finds both
    assert len(jobs.keys("pair/features/")) == 2
