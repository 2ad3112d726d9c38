"""What is on record of an endpoint, beside what moto's record has: name, ARN, status, failure reason, times, tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.sagemaker.models import sagemaker_backends

from whippet.local.endpoints.configuration import Configuration
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT


@dataclass
class Capacity:
    """What a variant shall have.

    Attributes:
        weight: as in `Variant.weight`.
        count: how many instances.
    """

    weight: float
    count: int


@dataclass
class Deployed:
    """What an endpoint runs.

    Attributes:
        wanted: the configuration that the first deployment is to bring up.
        deployment_config: the most recent DeploymentConfig.
        configuration: the one that was deployed last with success; None until there is one.
        capacities: what its variants shall have, by their names.
        capture: the DataCaptureConfig, which an update may leave as it is.
    """

    wanted: Configuration
    deployment_config: Mapping[str, Any] | None
    configuration: Configuration | None = None
    capacities: dict[str, Capacity] = field(default_factory=dict)
    capture: Mapping[str, Any] | None = None


def deployed_in(region: str) -> dict[str, Deployed]:
    """What the endpoints of a region run, by their names."""
    return shelf(sagemaker_backends[ACCOUNT][region], "endpoints")


def initial_capacities(configuration: Configuration) -> dict[str, Capacity]:
    """What the variants of a configuration begin with."""
    return {one.name: Capacity(one.weight, one.count) for one in configuration.variants}
