"""What the tests of endpoints share."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest


@dataclass
class Endpoint:
    """The endpoint of a test, as its clients see it."""

    local_aws: Any
    name: str = "endpoint"

    def invoke(self, body: bytes = b"photo", **options: Any) -> dict[str, Any]:
        """What the container has seen."""
        answer = self.local_aws.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=self.name, Body=body, **options
        )
        seen: dict[str, Any] = json.loads(answer["Body"].read())
        return seen

    def models(self, calls: int) -> Counter[str]:
        """How many of so many calls each model has answered."""
        return Counter(self.invoke()["model"] for _ in range(calls))

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeEndpoint."""
        described: dict[str, Any] = self.local_aws.client("sagemaker").describe_endpoint(EndpointName=self.name)
        return described

    def variant(self) -> dict[str, Any]:
        """What DescribeEndpoint tells of its first variant."""
        variant: dict[str, Any] = self.describe()["ProductionVariants"][0]
        return variant

    def stage(self) -> str | None:
        """The stage of the deployment in progress."""
        pending = self.describe().get("PendingDeploymentSummary")
        return pending["ProductionVariants"][0]["VariantStatus"][0]["Status"] if pending else None

    def update(self, config: str, **options: Any) -> None:
        """Begins an update."""
        self.local_aws.client("sagemaker").update_endpoint(EndpointName=self.name, EndpointConfigName=config, **options)

    def pids(self) -> list[int]:
        """The processes of its instances."""
        return [
            instance["pid"]
            for one in self.local_aws.gateway.status()["endpoints"]
            if one["name"] == self.name
            for instance in one["instances"]
        ]

    def break_model(self) -> None:
        """Makes every container that is started from now on end at once."""
        for pid in self.pids():
            Path(psutil.Process(pid).cmdline()[-1]).write_text("crash")


@pytest.fixture
def endpoint(local_aws: Any) -> Endpoint:
    return Endpoint(local_aws)
