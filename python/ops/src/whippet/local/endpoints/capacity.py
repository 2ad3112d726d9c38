"""Changes how many instances variants have, and their weights, while they serve.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpointWeightsAndCapacities.html
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from whippet.local.calls import AwsError
from whippet.local.endpoints.endpoint import CHANGEABLE, Endpoint
from whippet.local.endpoints.fleet import Group, UnhealthyError
from whippet.local.endpoints.instances import Health, Instance
from whippet.local.endpoints.records import Capacity

log = logging.getLogger(__name__)

_RESOURCE = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)")


def begin(endpoint: Endpoint, wanted: Mapping[str, Capacity]) -> None:
    """Changes the capacities of variants, in the background.

    Args:
        endpoint: the endpoint.
        wanted: what variants shall have from now on.

    Raises:
        AwsError: the endpoint is being changed already.
    """
    with endpoint.lock:
        before = dict(endpoint.deployed.capacities)
        endpoint.begin("Updating", CHANGEABLE)
        endpoint.deployed.capacities = {**before, **wanted}
        endpoint.save()
        endpoint.in_background(_change, endpoint, endpoint.traffic.fleets[0].groups, before, wanted)


def _change(
    endpoint: Endpoint, groups: Mapping[str, Group], before: dict[str, Capacity], wanted: Mapping[str, Capacity]
) -> None:
    """Starts the instances that are missing, lets them take traffic, and only then ends those that are too many."""
    traffic = endpoint.traffic
    started: dict[str, list[Instance]] = {}
    try:
        for name, capacity in wanted.items():
            started[name] = traffic.grow(groups[name], max(0, capacity.count - len(groups[name].instances)))
        traffic.await_healthy((one for instances in started.values() for one in instances), lambda: "")
    except UnhealthyError as error:
        log.warning("endpoint %s: %s", endpoint.name, error)
        endpoint.note("RollingBack", str(error))
        for name, instances in started.items():
            _end(endpoint, groups[name], instances)
        endpoint.deployed.capacities = before
        endpoint.note("InService", str(error))
        return
    traffic.weigh({name: capacity.weight for name, capacity in wanted.items()})
    for name, capacity in wanted.items():
        group = groups[name]
        excess = max(0, len(group.instances) - capacity.count)
        # First those that cannot serve, then the oldest.
        ordered = sorted(group.instances, key=lambda one: one.health is Health.HEALTHY)
        _end(endpoint, group, ordered[:excess])
    endpoint.note("InService")


def _end(endpoint: Endpoint, group: Group, instances: list[Instance]) -> None:
    endpoint.traffic.remove(group, instances)
    endpoint.traffic.end(instances, endpoint.settings.invocation_timeout)


def checked(endpoint: Endpoint, changes: list[dict[str, Any]]) -> dict[str, Capacity]:
    """What the variants shall have after UpdateEndpointWeightsAndCapacities.

    Raises:
        AwsError: a variant is not there, is named twice, or cannot have what it shall.
    """
    configuration, capacities = endpoint.deployed.configuration, endpoint.deployed.capacities
    wanted: dict[str, Capacity] = {}
    for change in changes:
        name = change["VariantName"]
        if name in wanted:
            raise AwsError("ValidationException", f'The variant name "{name}" was non-unique within the request.')
        if configuration is None or name not in capacities:
            raise AwsError(
                "ValidationException",
                f'The variant name(s) "{name}" is/are not present within endpoint configuration '
                f'"{endpoint.record.endpoint_config_name}".',
            )
        current = capacities[name]
        count = change.get("DesiredInstanceCount", current.count)
        # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html: only those can have none.
        if count < 1 and not configuration.is_asynchronous:
            raise AwsError("ValidationException", f"Variant {name} needs at least one instance.")
        wanted[name] = Capacity(change.get("DesiredWeight", current.weight), count)
    return wanted


class VariantCapacity:
    """What Application Auto Scaling scales of endpoints: `sagemaker:variant:DesiredInstanceCount`.

    Args:
        find: gives the endpoint of a region by its name, None where there is none.
    """

    def __init__(self, find: Callable[[str, str], Endpoint | None]) -> None:
        self._find = find

    def capacity(self, region: str, resource_id: str) -> int | None:
        """The desired number of instances of `endpoint/NAME/variant/NAME`; None where there is no such variant."""
        endpoint, name = self._parse(region, resource_id)
        capacity = endpoint.deployed.capacities.get(name) if endpoint is not None else None
        return None if capacity is None else capacity.count

    def set_capacity(self, region: str, resource_id: str, capacity: int) -> None:
        """Changes the desired number of instances; returns before it is reached.

        Raises:
            AwsError: the endpoint is being changed, or has no such variant.
        """
        endpoint, name = self._parse(region, resource_id)
        if endpoint is None:
            raise AwsError("ValidationException", f"The resource {resource_id} does not exist.")
        with endpoint.lock:
            begin(endpoint, checked(endpoint, [{"VariantName": name, "DesiredInstanceCount": capacity}]))

    def is_changing(self, region: str, resource_id: str) -> bool:
        """Whether the endpoint is being changed."""
        endpoint, _ = self._parse(region, resource_id)
        return endpoint is not None and endpoint.status in ("Creating", "Updating", "RollingBack")

    def _parse(self, region: str, resource_id: str) -> tuple[Endpoint | None, str]:
        found = _RESOURCE.fullmatch(resource_id)
        return (self._find(region, found["endpoint"]), found["variant"]) if found else (None, "")
