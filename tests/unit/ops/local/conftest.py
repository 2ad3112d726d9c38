"""Local AWS inside the test process, with a small container for the endpoints, emptied after each test."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from werkzeug.wrappers import Response

from support.conformance import faults
from whippet.local.calls import Call
from whippet.local.clock import Clock
from whippet.local.gateway import Gateway
from whippet.local.server import Server, listen
from whippet.local.settings import ACCOUNT, Settings

CONTAINER = Path(__file__).with_name("container.py")


class CheckedGateway(Gateway):
    """Holds every answer that local AWS makes or mends itself to botocore's model of it."""

    def _handle(self, call: Call) -> Response:
        response = super()._handle(call)
        if response.status_code < 300 and not hasattr(response, "is_from_moto"):
            found = faults(call.service, call.operation, call.protocol, response)
            assert not found, f"{call.service}:{call.operation}: {found}"
        return response

    def _forward(self, call: Call) -> Response:
        response = super()._forward(call)
        response.is_from_moto = True  # type: ignore[attr-defined]
        return response


@dataclass
class LocalAws:
    """What tests need of a running local AWS."""

    settings: Settings
    gateway: Gateway
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        """A boto3 client, the administrator's unless it gets the credentials that AssumeRole gave."""
        keys = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
        known = (service, keys["AccessKeyId"])
        if known not in self._clients:  # making one takes long, and they can be shared among threads
            self._clients[known] = boto3.client(  # type: ignore[call-overload]
                service,
                region_name="us-east-1",
                endpoint_url=self.settings.url,
                aws_access_key_id=keys["AccessKeyId"],
                aws_secret_access_key=keys["SecretAccessKey"],
                aws_session_token=keys.get("SessionToken"),
                config=Config(retries={"total_max_attempts": 1}, max_pool_connections=80),
            )
        return self._clients[known]

    def create_role(self, name: str, *statements: dict[str, Any]) -> str:
        """A role with one inline policy, which every service of the project and everybody in the account may assume."""
        iam = self.client("iam")
        services = [f"{service}.amazonaws.com" for service in ("ec2", "lambda", "sagemaker")]
        trusted = {"Service": services, "AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": trusted}
        trust_document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust_document)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document)
        arn: str = role["Role"]["Arn"]
        return arn

    def assume(self, role_arn: str) -> dict[str, str]:
        """Credentials of a session of a role."""
        credentials: dict[str, str] = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")[
            "Credentials"
        ]
        return credentials

    def create_function(self, source: str, name: str = "function", role: str | None = None, **options: Any) -> None:
        """A function whose handler is `handler` in `source`."""
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="module.handler",
            Role=role or self.create_role(f"{name}-role", self.allow("logs:*")),
            Code={"ZipFile": self.zip_of(source)},
            **options,
        )

    def create_endpoint_config(self, name: str, model: str, **variant: Any) -> None:
        """An endpoint configuration whose container reads `model`."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        s3.create_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key=f"{name}/model.tar.gz", Body=model.encode())
        role = f"arn:aws:iam::{ACCOUNT}:role/{name}-model"
        self.create_role(f"{name}-model", self.allow(["s3:GetObject", "logs:*", "cloudwatch:DescribeAlarms"]))
        container = {
            "Image": "image",
            "ModelDataUrl": f"s3://models/{name}/model.tar.gz",
            "Environment": {"COLOUR": "grey"},
        }
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
        variants = [
            {"VariantName": "main", "ModelName": name, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
        ]
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variants[0] | variant])

    def create_endpoint(self, model: str = "good", name: str = "endpoint", **variant: Any) -> dict[str, Any]:
        """An endpoint, waited for until it has settled; its description."""
        self.create_endpoint_config(f"{name}-config", model, **variant)
        self.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-config")
        return self.settled(name)

    def settled(self, name: str = "endpoint") -> dict[str, Any]:
        """The description of an endpoint once nothing is under way."""
        sagemaker = self.client("sagemaker")

        def description() -> Any:
            described = sagemaker.describe_endpoint(EndpointName=name)
            return described if described["EndpointStatus"] in ("InService", "Failed") else None

        described: dict[str, Any] = self.eventually(description)
        return described

    @staticmethod
    def allow(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
        """A statement of a policy."""
        return {"Effect": "Allow", "Action": action, "Resource": resource, **more}

    @staticmethod
    def zip_of(source: str) -> bytes:
        """A deployment package with one module."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("module.py", source)
        return packed.getvalue()

    @staticmethod
    def eventually(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
        """The first true value of a condition."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout} s")

    def logged(self, group: str) -> list[str]:
        """The messages in a log group."""
        events = self.client("logs").filter_log_events(logGroupName=group)["events"]
        return [event["message"] for event in events]

    def assert_denied(self, call: Callable[..., Any], **arguments: Any) -> str:
        """Makes a call that IAM must refuse; the message of the refusal."""
        with pytest.raises(ClientError) as refused:
            call(**arguments)
        assert refused.value.response["Error"]["Code"] in (
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
        )
        return str(refused.value.response["Error"]["Message"])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    listener = listen(0)
    settings = Settings(
        home=tmp_path_factory.mktemp("local-aws"),
        port=listener.getsockname()[1],
        container_command=(sys.executable, "-S", str(CONTAINER), "{model}"),
        health_check_timeout=10.0,
        health_check_interval=0.5,
        invocation_timeout=2.0,
        stop_grace=1.0,
        job_stop_grace=1.0,
    )
    gateway = CheckedGateway(settings, pid=0, random=Random(0))
    with Server(gateway, listener):
        yield LocalAws(settings, gateway)
    gateway.stop()


@pytest.fixture
def fast_clock(running: LocalAws) -> Iterator[Clock]:
    """The clock of local AWS at 60 times the wall's: a minute is a second."""
    running.gateway.clock.speed = 60.0
    yield running.gateway.clock
    running.gateway.clock.speed = 1.0


@pytest.fixture
def local_aws(running: LocalAws) -> Iterator[LocalAws]:
    yield running
    running.gateway.reset()
