"""The project's own Terraform against local AWS, with this project's server behind the endpoint."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from whippet.local import control
from whippet.terraform import Terraform

ROOT = Path(__file__).parents[3]
STATES = shutil.ignore_patterns(".terraform*", "terraform.tfstate*", "*.tfplan")


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


class Stack:
    """The root module in a folder of its own, applied to one local AWS."""

    def __init__(self, folder: Path, port: int, model: Path, function: Path) -> None:
        shutil.copytree(ROOT / "terraform", folder, ignore=STATES)
        self.terraform = Terraform(folder, "local")
        self.terraform.init()
        self.folder = folder
        self.variables = {
            "local_aws_url": control.url(port),
            "lambda_zip": str(function),
            "training_package": str(function),
            "model_archive": str(model),
        }

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        named = [word for name, value in self.variables.items() for word in ("-var", f"{name}={value}")]
        options = ["-input=false", "-no-color", "-var-file=envs/local.tfvars", *named]
        return self.terraform.run(command, *arguments, *options, check=check)

    def changes(self) -> str:
        """What Terraform would change now."""
        planned = self.run("plan", "-detailed-exitcode", check=False)
        return "" if planned.returncode == 0 else planned.stdout + planned.stderr


@pytest.fixture
def stack(daemon: Any, tmp_path: Path, tiny_model: Path) -> Iterator[Stack]:
    daemon.up()
    function = tmp_path / "function.zip"
    shutil.make_archive(str(function.with_suffix("")), "zip", ROOT / "python" / "lambda" / "src")
    yield Stack(tmp_path / "terraform", daemon.port, pack(tiny_model, tmp_path / "model.tar.gz"), function)


def green_photo() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (60, 50), (10, 200, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_apply_plans_clean_updates_in_place_and_destroys(
    daemon: Any, stack: Stack, tiny_model: Path, tmp_path: Path
) -> None:
    stack.run("apply", "-auto-approve")
    assert stack.changes() == ""

    outputs = stack.terraform.output()
    runtime = daemon.client("sagemaker-runtime")

    def predicted() -> dict[str, Any]:
        answer = runtime.invoke_endpoint(
            EndpointName=outputs["endpoint_name"], Body=green_photo(), ContentType="image/jpeg"
        )
        prediction: dict[str, Any] = json.loads(answer["Body"].read())
        return prediction

    first = predicted()
    assert first["predictions"][0]["label"] == "green"

    # another model: the endpoint changes, it is not replaced
    changed = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    document = json.loads((changed / "model.json").read_text())
    (changed / "model.json").write_text(json.dumps(document | {"id": "ba9876543210"}))
    stack.variables["model_archive"] = str(pack(changed, tmp_path / "changed.tar.gz"))
    created = daemon.client("sagemaker").describe_endpoint(EndpointName=outputs["endpoint_name"])["CreationTime"]
    stack.run("apply", "-auto-approve")
    described = daemon.client("sagemaker").describe_endpoint(EndpointName=outputs["endpoint_name"])
    assert described["CreationTime"] == created
    assert predicted()["model"]["id"] == "ba9876543210"
    assert stack.changes() == ""

    stack.run("destroy", "-auto-approve")
    assert stack.terraform.resources() == []
    status = control.status(daemon.port)
    assert status is not None
    assert (status.endpoints, status.functions) == ((), ())
    assert daemon.client("logs").describe_log_groups()["logGroups"] == []
    assert daemon.client("s3").list_buckets()["Buckets"] == []
    assert "Traceback" not in status.log.read_text()
