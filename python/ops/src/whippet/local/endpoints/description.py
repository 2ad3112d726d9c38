"""What DescribeEndpoint tells: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from whippet.local.endpoints.capture import is_enabled
from whippet.local.endpoints.configuration import Variant
from whippet.local.endpoints.endpoint import Endpoint, Pending
from whippet.local.endpoints.fleet import Group
from whippet.local.endpoints.records import Capacity


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """The members of DescribeEndpoint's answer."""
    with endpoint.lock:
        deployed, record, pending = endpoint.deployed, endpoint.record, endpoint.pending
        configuration = deployed.configuration
        told: dict[str, Any] = {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": record.endpoint_config_name,
            "EndpointStatus": endpoint.status,
            "FailureReason": record.failure_reason,
            "CreationTime": record.creation_time,
            "LastModifiedTime": record.last_modified_time,
            "LastDeploymentConfig": deployed.deployment_config,
            "DataCaptureConfig": _capture(deployed.capture),
            **(configuration or deployed.wanted).members,
        }
        if configuration is not None:
            fleets = endpoint.traffic.fleets
            groups = fleets[0].groups if fleets else {}
            told["ProductionVariants"] = [
                _variant(one, deployed.capacities[one.name], groups.get(one.name), record.creation_time)
                for one in configuration.variants
            ]
            told["ShadowProductionVariants"] = [
                _variant(one, Capacity(one.weight, one.count), None, record.creation_time)
                for one in configuration.shadows
            ] or None
        if pending is not None and endpoint.status in ("Creating", "Updating", "RollingBack"):
            told["PendingDeploymentSummary"] = _summary(pending)
        return told


def _summary(pending: Pending) -> dict[str, Any]:
    groups = pending.fleet.groups if pending.fleet is not None else {}
    stage = {"Status": pending.stage, "StartTime": pending.stage_since}
    return {
        "EndpointConfigName": pending.configuration.name,
        "StartTime": pending.started_at,
        "ProductionVariants": [
            {
                **_variant(one, pending.capacities[one.name], groups.get(one.name), pending.started_at),
                "InstanceType": one.members.get("InstanceType"),
                "VariantStatus": [stage],
            }
            for one in pending.configuration.variants
        ],
    }


def _variant(variant: Variant, capacity: Capacity, group: Group | None, resolved_at: datetime) -> dict[str, Any]:
    """A ProductionVariantSummary; one that nothing runs of, as a shadow, tells what it should have."""
    told = {
        "VariantName": variant.name,
        "DeployedImages": [
            {
                "SpecifiedImage": variant.image,
                "ResolvedImage": _resolved(variant.image),
                "ResolutionTime": resolved_at,
            }
        ],
        "CurrentWeight": group.weight if group is not None else capacity.weight,
        "DesiredWeight": capacity.weight,
        "ManagedInstanceScaling": variant.members.get("ManagedInstanceScaling"),
        "RoutingConfig": variant.members.get("RoutingConfig"),
    }
    if variant.is_serverless:
        serverless = variant.members["ServerlessConfig"]
        return told | {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    ready = group.ready if group is not None else 0
    return told | {"CurrentInstanceCount": ready, "DesiredInstanceCount": capacity.count}


def _capture(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    return {
        "EnableCapture": is_enabled(config),
        "CaptureStatus": "Started" if is_enabled(config) else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _resolved(image: str) -> str:
    """An image by its digest: made up, since there is no registry, and always the same for the same image."""
    repository = image.rpartition(":")[0] if ":" in image.rpartition("/")[2] else image
    return f"{repository}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
