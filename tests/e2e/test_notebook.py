"""The notebook, run from top to bottom against local AWS, in the environment that SageMaker's SDK has to itself.

On photos of a few classes where DATA names some, else on a few of the sample set.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.ports import free_port
from whippet.local import control
from whippet_training.sample import ANIMALS, Picture, draw

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "train_and_deploy.ipynb"
BIN = ROOT / ".venv-notebook" / "bin"
DATA = os.environ.get("DATA")
CLASSES = 3
SIZES = {"train": 12, "valid": 4, "test": 4}


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    port = free_port()
    monkeypatch.setenv("WHIPPET_HOME", str(tmp_path / "whippet"))
    control.up(port)
    yield port
    control.down(port)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Few photos of few classes."""
    folder = tmp_path / "photos"
    for split, count in SIZES.items():
        if DATA:
            for source in sorted((Path(DATA) / split).iterdir())[:CLASSES]:
                (folder / split / source.name).mkdir(parents=True)
                for photo in sorted(source.iterdir())[:count]:
                    shutil.copy(photo, folder / split / source.name)
        else:
            for animal in list(ANIMALS)[:CLASSES]:
                (folder / split / animal).mkdir(parents=True)
                for number in range(count):
                    picture = Picture(split, animal, number)
                    (folder / split / animal / f"{number}.jpg").write_bytes(draw(picture))
    return folder


def test_git_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_it_trains_deploys_answers_and_leaves_nothing(port: int, data: Path, tmp_path: Path) -> None:
    assert (BIN / "jupyter-execute").exists(), "make .venv-notebook/.installed makes the notebook's environment"
    executed = tmp_path / "executed.ipynb"
    own = ("PATH", "LANG", "PIP_INDEX_URL")
    done = subprocess.run(
        [str(BIN / "jupyter-execute"), "--timeout=300", f"--output={executed}", str(NOTEBOOK)],
        cwd=ROOT,
        env={
            **{name: os.environ[name] for name in own if name in os.environ},
            "HOME": str(tmp_path),
            "DATA": str(data),
            "AWS_ENDPOINT_URL": control.url(port),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]

    printed = [text(cell) for cell in json.loads(executed.read_text())["cells"] if cell["cell_type"] == "code"]
    answer = next(one for one in printed if one.startswith("It is: "))
    is_, *ranked = answer.splitlines()
    assert len(ranked) == CLASSES
    assert {line.split(maxsplit=1)[1] for line in ranked} == {path.name for path in (data / "train").iterdir()}
    assert ranked[0].split(maxsplit=1)[1] == is_.removeprefix("It is: ")
    assert "Nothing is left that costs." in printed[-1]

    def client(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=control.url(port),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    sagemaker = client("sagemaker")
    assert not sagemaker.list_endpoints()["Endpoints"]
    assert not sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert not sagemaker.list_models()["Models"]
    assert not client("s3").list_buckets()["Buckets"]
    assert not client("iam").list_roles()["Roles"]
    jobs = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert {job["TrainingJobStatus"] for job in jobs} == {"Completed"}
    assert len(jobs) == 4


def text(cell: dict[str, Any]) -> str:
    """What a cell has printed."""
    return "".join("".join(one.get("text", "")) for one in cell["outputs"] if one.get("name") == "stdout")
