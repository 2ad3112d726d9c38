"""What the notebook does, through plain boto3: tune, take the best job, deploy it, ask it about photos.

On real photos where DATA names them, else on the sample set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.ports import free_port
from whippet.local import control

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("DATA")
#: Classes that are enough to tell a model from a guess, and few enough to train on in half a minute.
CLASSES = 5
JOB = "breeds"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6-cpu-py312"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_HOME", str(tmp_path_factory.mktemp("whippet")))
        control.up(port)
        yield port
        control.down(port)


def photos() -> list[Path]:
    """The photos of the first classes, SPLIT/CLASS/NAME."""
    folder = Path(DATA) if DATA else ROOT / "build" / "sample"
    if not DATA:
        subprocess.run([str(Path(sys.executable).with_name("whippet")), "data", "sample", str(folder)], check=True)
    classes = sorted(path.name for path in (folder / "train").iterdir())[:CLASSES]
    return sorted(path for name in classes for path in folder.glob(f"*/{name}/*") if path.is_file())


def test_tune_take_the_best_deploy_and_ask(port: int) -> None:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=control.url(port))  # type: ignore[call-overload]

    s3, sagemaker = client("s3"), client("sagemaker")
    s3.create_bucket(Bucket="project")
    found = photos()
    with ThreadPoolExecutor(8) as pool:
        keys = ["/".join(("photos", *path.parts[-3:])) for path in found]
        list(pool.map(lambda pair: s3.upload_file(str(pair[0]), "project", pair[1]), zip(found, keys, strict=True)))
    package = ROOT / "build" / "training.tar.gz"
    subprocess.run([sys.executable, "scripts/build_training.py"], cwd=ROOT, check=True)
    s3.upload_file(str(package), "project", "code/training.tar.gz")
    role = create_role(client("iam"))

    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=JOB,
        HyperParameterTuningJobConfig={
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "valid:top1"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "weight-decay", "MinValue": "0.001", "MaxValue": "10", "ScalingType": "Logarithmic"}
                ],
                "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["64", "256"]}],
            },
            "RandomSeed": 1,
        },
        TrainingJobDefinition={
            "StaticHyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://project/code/training.tar.gz",
                "epochs": "20",
            },
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "valid:top1", "Regex": r"valid +top-1 +([0-9.]+)%"}],
            },
            "RoleArn": role,
            "InputDataConfig": [
                {
                    "ChannelName": "training",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://project/photos/"}},
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://project/models"},
            "ResourceConfig": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        },
    )
    sagemaker_waiter = {"Delay": 1, "MaxAttempts": 400}
    best = best_job(sagemaker)
    trained = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert trained["TrainingJobStatus"] == "Completed"
    objective = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    jobs = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=JOB)
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in jobs["TrainingJobSummaries"]]
    assert len(values) == 3
    assert objective == max(values)

    archive = trained["ModelArtifacts"]["S3ModelArtifacts"]
    sagemaker.create_model(
        ModelName=JOB, ExecutionRoleArn=role, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": archive}
    )
    variant = {"VariantName": "main", "ModelName": JOB, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=JOB, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=JOB, EndpointConfigName=JOB)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=JOB, WaiterConfig=sagemaker_waiter)

    runtime = client("sagemaker-runtime")

    def is_right(photo: Path) -> bool:
        kind = "image/png" if photo.suffix == ".png" else "image/jpeg"
        answer = runtime.invoke_endpoint(EndpointName=JOB, Body=photo.read_bytes(), ContentType=kind)
        label: str = json.load(answer["Body"])["predictions"][0]["label"]
        return label == photo.parent.name

    tested = [photo for photo in found if photo.parts[-3] == "test"]
    right = sum(is_right(photo) for photo in tested)
    assert right / len(tested) >= 0.85, f"{right} of {len(tested)}"

    sagemaker.delete_endpoint(EndpointName=JOB)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=JOB, WaiterConfig=sagemaker_waiter)


def best_job(sagemaker: Any) -> dict[str, Any]:
    """The best training job of the tuning job, once that has ended."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        described = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=JOB)
        if described["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"):
            assert described["HyperParameterTuningJobStatus"] == "Completed", described
            best: dict[str, Any] = described["BestTrainingJob"]
            return best
        time.sleep(0.5)
    raise AssertionError("the tuning job has not ended")


def create_role(iam: Any) -> str:
    """A role for SageMaker that may read and write the one bucket."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}
    allowed = [
        {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::project"},
        {"Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::project/*"},
        {"Action": "logs:*", "Resource": "arn:aws:logs:*:*:log-group:/aws/sagemaker/*"},
    ]
    role = iam.create_role(RoleName=JOB, AssumeRolePolicyDocument=document([trust]))["Role"]
    iam.put_role_policy(
        RoleName=JOB, PolicyName="project", PolicyDocument=document([{"Effect": "Allow", **one} for one in allowed])
    )
    return str(role["Arn"])


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
