"""Local AWS as the process that `whippet local up` starts, with its files in a temporary folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from support.ports import free_port
from support.stack import ROOT, Stack, pack
from whippet.local import control
from whippet.local.settings import ACCOUNT


class Daemon:
    """A port, and what tests do with the local AWS on it.

    Attributes:
        container: command line of a small container.
    """

    container = (
        *(sys.executable, "-S"),
        str(Path(__file__).parents[2] / "unit" / "ops" / "local" / "container.py"),
        "{model}",
    )

    def __init__(self) -> None:
        self.port: int = free_port()
        self.session: int | None = None
        self._clients: dict[str, Any] = {}

    def up(self, **options: Any) -> control.Status:
        status = control.up(self.port, **options)
        self.session = status.pid
        return status

    def client(self, service: str) -> Any:
        if service not in self._clients:  # making one takes long
            self._clients[service] = boto3.client(  # type: ignore[call-overload]
                service,
                region_name="us-east-1",
                endpoint_url=control.url(self.port),
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
            )
        return self._clients[service]

    def processes(self) -> list[psutil.Process]:
        """Everything that local AWS has started and that still runs, itself included."""
        members = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.session and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return members

    def create_role(self) -> str:
        """The role of models, functions and jobs, which may read S3 and log."""
        services = [f"{service}.amazonaws.com" for service in ("lambda", "sagemaker")]
        trusted = {"Service": services, "AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        iam = self.client("iam")
        trust = _document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": trusted})
        arn: str = iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        allowed = _document({"Effect": "Allow", "Action": ["s3:*", "logs:*"], "Resource": "*"})
        iam.put_role_policy(RoleName="role", PolicyName="inline", PolicyDocument=allowed)
        return arn

    def create_function(self, role: str) -> None:
        """A function that adds one."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("module.py", "def handler(event, context): return event['number'] + 1")
        self.client("lambda").create_function(
            FunctionName="function",
            Runtime="python3.12",
            Handler="module.handler",
            Role=role,
            Code={"ZipFile": packed.getvalue()},
        )

    def create_endpoint(self, role: str, instances: int = 1) -> None:
        """An endpoint with the small container behind it, waited for."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        s3.create_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key="model.tar.gz", Body=b"good")
        container = {"Image": "image", "ModelDataUrl": "s3://models/model.tar.gz"}
        sagemaker.create_model(ModelName="model", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {
            "VariantName": "main",
            "ModelName": "model",
            "InstanceType": "ml.c6i.large",
            "InitialInstanceCount": instances,
        }
        sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
        self.wait_for_endpoint()

    def wait_for_endpoint(self) -> None:
        self.eventually(
            lambda: self.client("sagemaker").describe_endpoint(EndpointName="endpoint")["EndpointStatus"] == "InService"
        )

    @staticmethod
    def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
        """The first true value of a condition."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout} s")


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("WHIPPET_HOME", str(tmp_path / "whippet"))
    daemon = Daemon()
    yield daemon
    control.down(daemon.port)


@pytest.fixture
def stack(daemon: Daemon, tmp_path: Path, tiny_model: Path) -> Stack:
    """The root module in a folder of its own, with this project's server behind the endpoint."""
    daemon.up()
    function = tmp_path / "function.zip"
    shutil.make_archive(str(function.with_suffix("")), "zip", ROOT / "python" / "lambda" / "src")
    return Stack(tmp_path / "terraform", daemon.port, pack(tiny_model, tmp_path / "model.tar.gz"), function)
