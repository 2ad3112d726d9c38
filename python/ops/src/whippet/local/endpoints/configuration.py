"""What an endpoint runs: an endpoint configuration with its models, as they were when it was deployed.

AWS, too, keeps an endpoint running whose configuration or model has been deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.sagemaker.models import sagemaker_backends

from whippet.local.calls import AwsError
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT

#: Members of an endpoint configuration that DescribeEndpoint tells as they are.
TOLD_BY_ENDPOINTS = ("AsyncInferenceConfig", "ExplainerConfig", "MetricsConfig", "CrossRegionTrafficConfig")


@dataclass(frozen=True)
class Variant:
    """A production variant.

    Attributes:
        name: its name.
        image: the container's image, which only is recorded.
        model_data: the S3 URI of its model.tar.gz; empty where it has none.
        environment: the container's environment.
        role_arn: the model's execution role.
        members: the variant as CreateEndpointConfig had it.
    """

    name: str
    image: str
    model_data: str
    environment: Mapping[str, str]
    role_arn: str
    members: Mapping[str, Any]

    @property
    def weight(self) -> float:
        """Its share of the traffic is this over the sum of all weights."""
        return float(self.members.get("InitialVariantWeight", 1.0))

    @property
    def count(self) -> int:
        """How many instances it begins with; a serverless one is served by one process."""
        return 1 if self.is_serverless else int(self.members.get("InitialInstanceCount", 1))

    @property
    def is_serverless(self) -> bool:
        """Whether it has no instances of its own on AWS."""
        return "ServerlessConfig" in self.members

    @property
    def is_random(self) -> bool:
        """Whether each invocation goes to an instance drawn by lot, not to the one with the fewest under way."""
        return bool(self.members.get("RoutingConfig", {}).get("RoutingStrategy") == "RANDOM")

    @property
    def startup_timeout(self) -> float | None:
        """Seconds for a container to become healthy, where they are given."""
        return self.members.get("ContainerStartupHealthCheckTimeoutInSeconds")


@dataclass(frozen=True)
class Configuration:
    """An endpoint configuration.

    Attributes:
        name: its name.
        variants: its production variants.
        shadows: its shadow variants, which are only recorded.
        capture: its DataCaptureConfig.
        members: what DescribeEndpoint tells of it as it is.
    """

    name: str
    variants: tuple[Variant, ...]
    shadows: tuple[Variant, ...]
    capture: Mapping[str, Any] | None
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_asynchronous(self) -> bool:
        """Whether it serves InvokeEndpointAsync."""
        return "AsyncInferenceConfig" in self.members


def configurations_of(region: str) -> dict[str, dict[str, Any]]:
    """The parameters of CreateEndpointConfig, of which moto drops some, by the configuration's name."""
    return shelf(sagemaker_backends[ACCOUNT][region], "endpoint_configs")


def read_configuration(region: str, name: str) -> Configuration:
    """Reads an endpoint configuration and its models.

    Raises:
        AwsError: it is not there, or one of its models is not.
    """
    params = configurations_of(region).get(name)
    if params is None or name not in sagemaker_backends[ACCOUNT][region].endpoint_configs:
        raise AwsError(
            "ValidationException", f'Could not find endpoint configuration "{_arn(region, "endpoint-config", name)}".'
        )
    return Configuration(
        name=name,
        variants=tuple(_read_variant(region, one, params) for one in params["ProductionVariants"]),
        shadows=tuple(_read_variant(region, one, params) for one in params.get("ShadowProductionVariants", [])),
        capture=params.get("DataCaptureConfig"),
        members={member: params[member] for member in TOLD_BY_ENDPOINTS if member in params},
    )


def _read_variant(region: str, members: Mapping[str, Any], params: Mapping[str, Any]) -> Variant:
    name = members.get("ModelName", "")
    model = next((one for one in sagemaker_backends[ACCOUNT][region]._models.values() if one.model_name == name), None)
    if model is None:
        raise AwsError("ValidationException", f'Could not find model "{_arn(region, "model", name)}".')
    container = model.primary_container or next(iter(model.containers or []), {})
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return Variant(
        name=members["VariantName"],
        image=container.get("Image", ""),
        model_data=container.get("ModelDataUrl") or source.get("S3Uri", ""),
        environment=dict(container.get("Environment") or {}),
        role_arn=model.execution_role_arn or params.get("ExecutionRoleArn", ""),
        members=dict(members),
    )


def _arn(region: str, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name}"
