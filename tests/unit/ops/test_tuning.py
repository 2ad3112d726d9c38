from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import validate_parameters
from rich.console import Console

from whippet import tuning
from whippet.deployment import Deployment
from whippet.errors import WhippetError
from whippet.project import Project
from whippet_training.search_space import read_space
from whippet_training.settings import Settings, read_hyperparameters
from whippet_training.tune import SAGEMAKER_OBJECTIVE


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        **read_space().sagemaker_ranges(),
        **SAGEMAKER_OBJECTIVE,
        "MaxNumberOfTrainingJobs": 20,
        "RandomSeed": 3,
        "MaxRuntimeInSeconds": None,
        "Data": "photos",
        "Run": "build/runs/photos",
        **changes,
    }


def place(**changes: Any) -> tuning.Place:
    values: dict[str, Any] = {
        "deployment": Deployment(Project(Path("checkout")), "dev"),
        "region": "eu-west-1",
        "bucket": "project",
        "role": "arn:aws:iam::123456789012:role/tuning",
        "image": tuning.IMAGE.format(region="eu-west-1"),
        "instance_type": tuning.INSTANCE_TYPE,
    }
    return tuning.Place(**{**values, **changes})


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_sagemaker_takes_the_request_as_it_is() -> None:
    config = tuning.tuning_config(wanted(), parallel=4)
    definition = tuning.job_definition(
        place(kms_key="arn:aws:kms:eu-west-1:123456789012:key/0"),
        "whippet-261123-080000",
        ("ManifestFile", "data/photos.manifest"),
        wanted()["MetricDefinitions"],
    )
    model = boto3.client("sagemaker", "eu-west-1").meta.service_model
    request = {
        "HyperParameterTuningJobName": "whippet-261123-080000",
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {"StaticHyperParameters": wanted()["StaticHyperParameters"], **definition},
    }
    validate_parameters(request, model.operation_model("CreateHyperParameterTuningJob").input_shape)
    training = {"TrainingJobName": "whippet-final", "HyperParameters": {}, **definition}
    validate_parameters(training, model.operation_model("CreateTrainingJob").input_shape)
    assert config["RandomSeed"] == 3
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 4}
    assert "MaxRuntimeInSeconds" not in config["ResourceLimits"]


def test_a_time_limit_is_no_less_than_sagemaker_takes_and_no_more_jobs_run_at_once_than_there_are() -> None:
    config = tuning.tuning_config(wanted(MaxRuntimeInSeconds=30.0, MaxNumberOfTrainingJobs=2), parallel=4)
    assert config["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 2,
        "MaxParallelTrainingJobs": 2,
        "MaxRuntimeInSeconds": 120,
    }


def test_photos_and_the_manifest_are_uploaded_and_nothing_else(tmp_path: Path) -> None:
    data = folder_of(
        tmp_path,
        "train/a/1.jpg",
        "test/a/2.PNG",
        "train/a/.hidden.jpg",
        ".git/3.jpg",
        "manifest.csv",
        "train/a/notes.txt",
    )
    assert tuning.find_photos(data) == ["test/a/2.PNG", "train/a/1.jpg", "manifest.csv"]


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WhippetError, match="There are no photos in"):
        tuning.find_photos(folder_of(tmp_path, "train/a/notes.txt"))


def test_other_content_or_other_names_go_to_another_place(tmp_path: Path) -> None:
    data = folder_of(tmp_path, "a/1.jpg", "b/2.jpg")
    names = tuning.find_photos(data)
    first = tuning.fingerprint(data, names)
    assert tuning.fingerprint(data, names) == first
    (data / "b/2.jpg").write_bytes(b"other")
    second = tuning.fingerprint(data, names)
    (data / "b/2.jpg").rename(data / "a/2.jpg")
    assert len({first, second, tuning.fingerprint(data, ["a/1.jpg", "a/2.jpg"])}) == 3


def test_training_reads_the_best_values_as_they_are_written(tmp_path: Path) -> None:
    chosen = {"backbone": "a+b", "learning-rate": "0.00123", "hidden": "0", "batch-size": "64", "weight-decay": "0.5"}
    best = tuning.Best("whippet-1", "whippet-1-001", 0.25, chosen, "whippet-1-final", "s3://project/model", tmp_path)
    tuning.write_best(best, seed="3")
    values = read_hyperparameters(tmp_path / "best.yaml")
    settings = Settings.from_hyperparameters({**values, "weight_decay": [values["weight_decay"]]})
    assert (settings.backbone, settings.head.learning_rate, settings.head.batch_size) == ("a+b", 0.00123, 64)
    variables = json.loads((tmp_path / "best.tfvars.json").read_text())
    assert variables == {"training_hyperparameters": {**chosen, "seed": "3"}}
    assert {path.name for path in tmp_path.iterdir()} == {"best.yaml", "best.tfvars.json"}


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_job_whose_wait_is_interrupted_is_stopped(interrupt: type[BaseException]) -> None:
    stopped: list[str] = []
    with (
        pytest.raises(interrupt),
        tuning.stopped_on_interrupt(lambda: stopped.append("job"), "job", Console(quiet=True)),
    ):
        raise interrupt
    assert stopped == ["job"]


def test_a_job_that_ends_by_itself_is_not_stopped() -> None:
    with tuning.stopped_on_interrupt(lambda: pytest.fail("stopped"), "job", Console(quiet=True)):
        pass


def test_on_aws_the_role_must_be_named(tmp_path: Path) -> None:
    target = Deployment(Project(tmp_path), "dev")
    target.terraform.output = lambda: {"region": "eu-west-1"}  # type: ignore[method-assign]
    with pytest.raises(WhippetError, match="Say with --role"):
        tuning.find_place(target, "project", None, None, tuning.INSTANCE_TYPE)
    found = tuning.find_place(target, "project", "arn:aws:iam::1:role/r", None, tuning.INSTANCE_TYPE)
    assert (found.region, found.bucket) == ("eu-west-1", "project")
    assert "eu-west-1" in found.image


def test_the_role_may_write_to_runs_and_read_photos_and_the_package_only() -> None:
    statements = tuning.policy("project")["Statement"]
    writes = [
        one["Resource"] for one in statements if any("Put" in action and "s3" in action for action in one["Action"])
    ]
    assert writes == [["arn:aws:s3:::project/runs/*"]]
    assert not any("*" in action for one in statements for action in one["Action"])
