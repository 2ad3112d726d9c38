"""`whippet tune --on sagemaker` against local AWS: the same ranges, real training jobs, and a model at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from support.ports import free_port
from whippet.local import control

WHIPPET = Path(sys.executable).with_name("whippet")
CLASSES, PHOTOS = 3, {"train": 12, "valid": 5, "test": 5}
TRIALS = 2


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_HOME", str(tmp_path_factory.mktemp("whippet")))
        patch.setenv("WHIPPET_CACHE", str(tmp_path_factory.mktemp("cache")))
        control.up(port)
        yield port
        control.down(port)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few classes of the sample set."""
    root = tmp_path_factory.mktemp("photos")
    subprocess.run([str(WHIPPET), "data", "sample", str(root / "all")], check=True)
    for split, count in PHOTOS.items():
        for folder in sorted((root / "all" / split).iterdir())[:CLASSES]:
            (root / "few" / split / folder.name).mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:count]:
                shutil.copy(photo, root / "few" / split / folder.name)
    return root / "few"


def client(port: int, service: str) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return session.client(service, endpoint_url=control.url(port))  # type: ignore[call-overload]


def test_a_tuning_job_finds_values_that_training_takes_and_leaves_a_model(
    port: int, data: Path, tmp_path: Path
) -> None:
    s3, sagemaker = client(port, "s3"), client(port, "sagemaker")
    s3.create_bucket(Bucket="project")
    space = tmp_path / "space.yaml"
    space.write_text("epochs: 10\nviews: 1\nweight-decay: 0.01\nhidden: [0, 32]\n")
    asked = [str(data), "--space", str(space), "--trials", str(TRIALS), "--out", str(tmp_path / "run")]
    where = ["--on", "sagemaker", "--bucket", "project", "--port", str(port), "--json"]
    done = subprocess.run([str(WHIPPET), "tune", *asked, *where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)

    described = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=best["tuning_job"])
    assert described["TrainingJobStatusCounters"]["Completed"] == TRIALS
    ranges = described["HyperParameterTuningJobConfig"]["ParameterRanges"]
    own = [str(WHIPPET), "tune", *asked, "--sagemaker-ranges"]
    printed = json.loads(subprocess.run(own, capture_output=True, text=True, check=True).stdout)
    assert ranges == {kind: given for kind, given in printed["ParameterRanges"].items() if given}
    jobs = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=best["tuning_job"])
    losses = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in jobs["TrainingJobSummaries"]]
    assert best["objective"] == min(losses)

    written = yaml.safe_load((tmp_path / "run" / "best.yaml").read_text())
    assert written["epochs"] == 10
    assert {name: str(value) for name, value in written.items()}.keys() == best["hyperparameters"].keys()
    variables = json.loads((tmp_path / "run" / "best.tfvars.json").read_text())["training_hyperparameters"]
    assert variables == {**best["hyperparameters"], "seed": "0"}

    # The trials saw no test photo; the last training measured on them
    trial = sagemaker.describe_training_job(TrainingJobName=best["training_job"])
    assert images_of(s3, trial["ModelArtifacts"]["S3ModelArtifacts"], tmp_path / "trial") == {
        **{split: CLASSES * count for split, count in PHOTOS.items()},
        "test": 0,
    }
    assert images_of(s3, best["model"], tmp_path / "final") == {
        split: CLASSES * count for split, count in PHOTOS.items()
    }
    document = json.loads((tmp_path / "final" / "model.json").read_text())
    for name, value in best["hyperparameters"].items():
        assert str(document["hyperparameters"][name.replace("-", "_")]) == str(type_of(document, name)(value))

    again = sorted(one["Key"] for one in s3.list_objects_v2(Bucket="project", Prefix="data/")["Contents"])
    assert len(again) == CLASSES * sum(PHOTOS.values()) + 1


def type_of(document: Any, name: str) -> Any:
    return type(document["hyperparameters"][name.replace("-", "_")])


def images_of(s3: Any, address: str, folder: Path) -> dict[str, int]:
    """How many photos of each split a model has seen."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    folder.mkdir()
    s3.download_file(bucket, key, str(folder / "model.tar.gz"))
    with tarfile.open(folder / "model.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    images: dict[str, int] = json.loads((folder / "model.json").read_text())["data"]["images"]
    return images


def test_a_folder_without_photos_is_one_clear_line(port: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(WHIPPET), "tune", str(tmp_path), "--on", "sagemaker", "--bucket", "project", "--port", str(port)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "There are no photos in" in done.stderr
