"""The Lambda that holds the model: built, deployed in the endpoint's place, and asked as before."""

from __future__ import annotations

import base64
import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.photos import encode, jpeg
from support.stack import ROOT, Stack, pack
from whippet.local import control

SCRIPT = ROOT / "scripts" / "build_single_hop.py"
HOST = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
PHOTOS = [jpeg((10, 200, 30), (60, 50)), encode(Image.linear_gradient("L").resize((300, 200)), "PNG")]


def build(model: Path, out: Path, architecture: str = HOST, runtime: str = RUNTIME) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--out", str(out), "--json"]
    command += ["--architecture", architecture, "--runtime", runtime]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture(scope="module")
def packed(tiny_model_with_hooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tiny_model_with_hooks, tmp_path_factory.mktemp("packed") / "model.tar.gz")


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_package_is_the_same_bytes_each_time_and_fits_into_a_lambda(
    packed: Path, tmp_path: Path, architecture: str
) -> None:
    facts = [build(packed, tmp_path / name, architecture, "python3.12") for name in ("one.zip", "another.zip")]
    assert facts[0]["sha256"] == facts[1]["sha256"]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        names = archive.namelist()
        unpacked = sum(member.file_size for member in archive.infolist())
    assert unpacked <= 200 * 1024 * 1024  # of Lambda's 250, so that a network of 50 MB has room
    assert {"whippet_lambda/handler.py", "model/model.json", "model/model.onnx", "model/code/inference.py"} < set(names)
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    libraries = [name for name in names if ".cpython-312-" in name]
    assert libraries
    assert all(f"-{machine}-linux-gnu" in name for name in libraries)


def ask(daemon: Any, stack: Stack, photo: bytes) -> tuple[int, dict[str, Any]]:
    event = {"image": base64.b64encode(photo).decode()}
    arn = stack.terraform.output()["lambda_alias_arn"]
    answer = json.loads(
        daemon.client("lambda").invoke(FunctionName=arn, Payload=json.dumps(event).encode())["Payload"].read()
    )
    body = json.loads(answer["body"])
    del body["request_id"]
    return answer["statusCode"], body


def test_it_takes_the_endpoints_place_with_the_same_answers(
    daemon: Any, stack: Stack, packed: Path, tmp_path: Path
) -> None:
    # the Lambda computes in float32 on every processor, an endpoint does not
    stack.variables |= {"model_archive": str(packed), "inference_environment": '{WHIPPET_PRECISION="float32"}'}
    stack.run("apply", "-auto-approve")
    before = [ask(daemon, stack, photo) for photo in PHOTOS]
    assert [status for status, _ in before] == [200, 200]
    build(packed, tmp_path / "single-hop.zip")
    stack.variables |= {"single_hop": "true", "lambda_zip": str(tmp_path / "single-hop.zip")}
    stack.run("apply", "-auto-approve")
    assert stack.changes() == ""

    outputs = stack.terraform.output()
    assert not {"endpoint_name", "endpoint_arn", "model_s3_uri"} & set(outputs)
    assert not any("endpoint" in does for does in outputs["commands"])
    status = control.status(daemon.port)
    assert status is not None
    assert status.endpoints == ()
    for (_, expected), (answered, body) in zip(before, (ask(daemon, stack, photo) for photo in PHOTOS), strict=True):
        assert (answered, body["model"]) == (200, expected["model"])
        assert [one["label"] for one in body["predictions"]] == [one["label"] for one in expected["predictions"]]
        scores = [[one["score"] for one in each["predictions"]] for each in (body, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert [ask(daemon, stack, content)[0] for content in (b"hello", PHOTOS[0][:-300])] == [415, 422]

    [policy] = policies(daemon, outputs["lambda_role_arn"])
    assert "logs:PutLogEvents" in json.dumps(policy["PolicyDocument"])
    stack.run("destroy", "-auto-approve")
    assert stack.terraform.resources() == []
    assert daemon.client("s3").list_buckets()["Buckets"] == []
    assert "Traceback" not in status.log.read_text()


def policies(daemon: Any, role_arn: str) -> list[dict[str, Any]]:
    """The inline policies of a role."""
    iam, role = daemon.client("iam"), role_arn.rpartition("/")[2]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    found = [iam.get_role_policy(RoleName=role, PolicyName=name) for name in names]
    assert all("sagemaker" not in json.dumps(one["PolicyDocument"]) for one in found)
    return found
