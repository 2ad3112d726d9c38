"""The project's own training package as a training job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from whippet_training.sample import Picture, draw

ROOT = Path(__file__).parents[5]
SIZES = {"train": 10, "valid": 4, "test": 4}
CLASSES = ("bee", "fish")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The archive that SageMaker gets."""
    archive = tmp_path_factory.mktemp("package") / "training.tar.gz"
    command = [sys.executable, str(ROOT / "scripts" / "build_training.py"), "--out", str(archive)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return archive.read_bytes()


def test_the_training_package_trains_on_photos_of_a_channel(jobs: Any, package: bytes) -> None:
    for split, count in SIZES.items():
        for animal in CLASSES:
            photos: dict[str, bytes | str] = {
                f"photos/{split}/{animal}/{number}.jpg": draw(Picture(split, animal, number)) for number in range(count)
            }
            jobs.put(photos)
    jobs.put({"code/training.tar.gz": package})
    hyperparameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "s3://project/code/training.tar.gz",
        "backbone": "tf_efficientnet_lite0",
        "epochs": "20",
        "batch_size": "16",
        "weight-decay": "0.01",
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://project/photos/"}}
    algorithm = {"MetricDefinitions": [{"Name": "valid:top1", "Regex": r"valid +top-1 +([0-9.]+)%"}]}
    name = jobs.start(
        "",
        HyperParameters=hyperparameters,
        InputDataConfig=[{"ChannelName": "training", "DataSource": source}],
        AlgorithmSpecification=algorithm,
    )
    described = jobs.ended(name, timeout=120)
    assert described["TrainingJobStatus"] == "Completed", described.get("FailureReason")
    assert [one["MetricName"] for one in described["FinalMetricDataList"]] == ["valid:top1"]
    model = jobs.archived("models/job/output/model.tar.gz")
    assert {"model.json", "model.xml", "model.bin", "model.pt", "code/inference.py"} <= set(model)
    document = json.loads(model["model.json"])
    assert document["classes"] == sorted(CLASSES)
    report = json.loads(jobs.archived("models/job/output/output.tar.gz")["metrics.json"])
    assert report["valid"]["images"] == SIZES["valid"] * len(CLASSES)
    assert list((jobs.local_aws.settings.work / "cache" / "whippet").iterdir())
