"""The clients that users have, with nothing but their usual settings: the aws CLI and curl. boto3 is used all over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from whippet.local import control

CONTAINER = Path(__file__).parents[2] / "unit" / "ops" / "local" / "container.py"
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole"}


class Clients:
    """The command lines, as a shell that has sourced the user's settings runs them."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": control.url(port),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            "HOME": str(folder),
        }

    def aws(self, *arguments: str) -> Any:
        """One command of the aws CLI; what it prints, as JSON where it is."""
        command = [str(Path(sys.executable).with_name("aws")), *arguments, "--output", "json"]
        printed = self._run(command)
        return json.loads(printed) if printed.lstrip().startswith(("{", "[")) else printed

    def curl(self, path: str, service: str, *arguments: str, secret: str = "test") -> tuple[int, str]:
        """A signed request by curl; the status and the body."""
        signed = ["--aws-sigv4", f"aws:amz:us-east-1:{service}", "--user", f"test:{secret}"]
        printed = self._run(["curl", "-sS", *signed, "-w", "\n%{http_code}", *arguments, control.url(self.port) + path])
        body, _, status = printed.rpartition("\n")
        return int(status), body

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


@pytest.fixture
def clients(daemon: Any, tmp_path: Path) -> Clients:
    daemon.up(container_command=(sys.executable, "-S", str(CONTAINER), "{model}"))
    return Clients(daemon.port, tmp_path)


def role(clients: Clients, name: str, service: str) -> str:
    trust = {"Version": "2012-10-17", "Statement": [TRUST | {"Principal": {"Service": service}}]}
    created = clients.aws("iam", "create-role", "--role-name", name, "--assume-role-policy-document", json.dumps(trust))
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "logs:*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    clients.aws("iam", "put-role-policy", "--role-name", name, "--policy-name", "own", "--policy-document", policy)
    return str(created["Role"]["Arn"])


def test_the_aws_cli_runs_functions_and_endpoints(clients: Clients, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "function.zip", "w") as archive:
        archive.writestr("module.py", "def handler(event, context):\n    return {'hello': event['name']}\n")
    execution = role(clients, "function", "lambda.amazonaws.com")
    settings = [
        "--runtime",
        "python3.12",
        "--handler",
        "module.handler",
        "--zip-file",
        "fileb://function.zip",
        "--role",
    ]
    clients.aws("lambda", "create-function", "--function-name", "hello", *settings, execution)
    clients.aws("lambda", "wait", "function-active-v2", "--function-name", "hello")
    (tmp_path / "event.json").write_text('{"name": "world"}')
    invoked = clients.aws("lambda", "invoke", "--function-name", "hello", "--payload", "file://event.json", "out.json")
    assert invoked["StatusCode"] == 200
    assert json.loads((tmp_path / "out.json").read_text()) == {"hello": "world"}
    found = clients.aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/hello")
    assert any(event["message"].startswith("REPORT") for event in found["events"])

    (tmp_path / "model.tar.gz").write_bytes(b"good")
    clients.aws("s3", "mb", "s3://models")
    clients.aws("s3", "cp", "model.tar.gz", "s3://models/model.tar.gz")
    model = role(clients, "model", "sagemaker.amazonaws.com")
    container = "Image=image,ModelDataUrl=s3://models/model.tar.gz"
    clients.aws(
        *("sagemaker", "create-model", "--model-name", "model"),
        *("--execution-role-arn", model, "--primary-container", container),
    )
    variant = "VariantName=main,ModelName=model,InstanceType=ml.c6i.large,InitialInstanceCount=1"
    clients.aws(
        *("sagemaker", "create-endpoint-config", "--endpoint-config-name", "config"),
        *("--production-variants", variant),
    )
    named = ("--endpoint-name", "breeds")
    clients.aws("sagemaker", "create-endpoint", *named, "--endpoint-config-name", "config")
    # The CLI's own waiter asks every 30 seconds.
    while (status := clients.aws("sagemaker", "describe-endpoint", *named)["EndpointStatus"]) == "Creating":
        pass
    assert status == "InService"
    (tmp_path / "photo").write_bytes(b"a photo")
    clients.aws("sagemaker-runtime", "invoke-endpoint", *named, "--body", "fileb://photo", "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert (answer["model"], answer["bytes"]) == ("good", 7)


def test_curl_with_a_signature_reaches_the_data_plane_and_without_the_secret_does_not(clients: Clients) -> None:
    status, body = clients.curl("/endpoints/none/invocations", "sagemaker", "--data-binary", "a photo")
    assert (status, json.loads(body)["Message"]) == (400, "Endpoint none of account 123456789012 not found.")
    status, body = clients.curl("/endpoints/none/invocations", "sagemaker", "--data-binary", "a", secret="wrong")
    assert status == 403
    assert "signature" in body.lower()
    status, body = clients.curl("/", "sts", "--data", "Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 200
    assert "<Account>123456789012</Account>" in body
