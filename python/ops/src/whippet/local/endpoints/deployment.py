"""Brings endpoints up, and updates them: a new fleet takes over from the old one, which serves until it does.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from whippet.local.endpoints import policy
from whippet.local.endpoints.configuration import Configuration
from whippet.local.endpoints.endpoint import Endpoint, Pending
from whippet.local.endpoints.fleet import CancelledError, Fleet, UnhealthyError
from whippet.local.endpoints.instances import Instance
from whippet.local.endpoints.launching import LaunchError, make_fleet
from whippet.local.endpoints.records import Capacity
from whippet.local.monitoring.alarms import alarms_of
from whippet.local.monitoring.evaluation import ALARM

log = logging.getLogger(__name__)

#: Seconds of the clock between two looks at the alarms, and of the wall, at least.
LOOK, SHORTEST_LOOK = 1.0, 0.02
INTERRUPTED = "The update was interrupted: local AWS was stopped. The endpoint has its last configuration."


class RolledBackError(Exception):
    """A deployment must not go on; the text says why."""


def pending(endpoint: Endpoint, configuration: Configuration, capacities: dict[str, Capacity]) -> Pending:
    """A deployment that begins now."""
    now = endpoint.clock.now()
    return Pending(configuration, capacities, now, "Creating", now)


def create(endpoint: Endpoint) -> None:
    """Brings up what is on record of an endpoint, whose status is Creating."""
    deployed = endpoint.deployed
    configuration = deployed.configuration or deployed.wanted
    update = Deployment(endpoint, pending(endpoint, configuration, deployed.capacities), None)
    endpoint.pending = update.pending
    try:
        fleet = update.provision()
    except CancelledError:
        raise
    except Exception as error:
        reason = _reason(endpoint, error)
        update.discard()
        endpoint.pending = None
        endpoint.note("Failed", reason)
        return
    endpoint.traffic.set(fleet)
    deployed.configuration = configuration
    endpoint.pending = None
    endpoint.note("InService", endpoint.record.failure_reason)


def update(
    endpoint: Endpoint,
    old: tuple[Fleet, ...],
    config: Mapping[str, Any] | None,
    capture: Mapping[str, Any] | None,
) -> None:
    """Deploys what `endpoint.pending` says; the status is Updating.

    Whatever goes wrong, the fleet that has served until now goes on serving, and the reason is on record.

    Args:
        endpoint: the endpoint.
        old: the fleets that serve.
        config: the DeploymentConfig.
        capture: the DataCaptureConfig that is to hold afterwards.
    """
    assert endpoint.pending is not None  # noqa: S101 - whoever sets the status sets it too
    deployment = Deployment(endpoint, endpoint.pending, config)
    try:
        deployment.run(old)
    except CancelledError:
        raise
    except Exception as error:
        reason = _reason(endpoint, error)
        endpoint.note("RollingBack", reason)
        try:
            deployment.roll_back(old)
        except CancelledError:
            raise
        except Exception as failure:
            endpoint.pending = None
            endpoint.note("UpdateRollbackFailed", f"{reason} The rollback failed: {_reason(endpoint, failure)}")
            return
        endpoint.pending = None
        endpoint.note("InService", reason)
        return
    deployed = endpoint.deployed
    with endpoint.lock:
        deployed.configuration = deployment.pending.configuration
        deployed.capacities = deployment.pending.capacities
        deployed.capture = capture
        endpoint.record.endpoint_config_name = deployed.configuration.name
        endpoint.pending = None
        endpoint.note("InService")
    endpoint.in_background(lambda: endpoint.retire(*old))


def _reason(endpoint: Endpoint, error: Exception) -> str:
    """The FailureReason of what went wrong, which the log of local AWS tells too."""
    if isinstance(error, (RolledBackError, LaunchError, UnhealthyError)):
        log.warning("endpoint %s: %s", endpoint.name, error)
        return str(error)
    log.error("endpoint %s", endpoint.name, exc_info=error)
    return "Local AWS failed: its log says why."


class Deployment:
    """One deployment of an endpoint.

    Args:
        endpoint: the endpoint.
        pending: what is deployed.
        config: its DeploymentConfig.
    """

    def __init__(self, endpoint: Endpoint, pending: Pending, config: Mapping[str, Any] | None) -> None:
        self.pending = pending
        self._endpoint = endpoint
        self._traffic = endpoint.traffic
        self._policy = policy.read(config)
        self._is_late_at = endpoint.clock.time() + self._policy.timeout
        self._sizes: dict[str, int] = {}

    def provision(self) -> Fleet:
        """Starts the new fleet, and waits until it is healthy.

        Raises:
            LaunchError: a model cannot be read.
            UnhealthyError: an instance did not become healthy.
        """
        fleet = self._make()
        started: list[Instance] = []
        for name, group in fleet.groups.items():
            started += self._traffic.grow(group, self.pending.capacities[name].count)
        self._await(started)
        return fleet

    def run(self, old: tuple[Fleet, ...]) -> None:
        """Shifts the traffic from the old fleet to a new one.

        Raises:
            LaunchError: a model cannot be read.
            UnhealthyError: an instance did not become healthy.
            RolledBackError: an alarm went off, or it took too long.
        """
        if self._policy.kind == "ROLLING":
            self._roll(old[0])
        else:
            self._shift(old[0])
        self._bake(self._policy.termination_wait)
        self._endpoint.stage("Deleting")

    def roll_back(self, old: tuple[Fleet, ...]) -> None:
        """Sends all traffic to the old fleet again, and ends the new one.

        Raises:
            UnhealthyError: instances of the old fleet that were ended already do not come back.
        """
        if self._sizes and self.pending.fleet is not None:
            self._roll_back_in_batches(old[0], self.pending.fleet)
        self._traffic.set(*old)
        self.discard()

    def discard(self) -> None:
        """Ends the new fleet."""
        self._endpoint.stage("Deleting")
        if self.pending.fleet is not None:
            self._endpoint.retire(self.pending.fleet)

    def _make(self) -> Fleet:
        endpoint, pending = self._endpoint, self.pending
        fleet = make_fleet(endpoint.settings, endpoint.clock, endpoint.region, endpoint.name, pending.configuration)
        for name, group in fleet.groups.items():
            group.weight = pending.capacities[name].weight
        pending.fleet = fleet
        endpoint.add(fleet)
        return fleet

    def _shift(self, old: Fleet) -> None:
        """Blue/green: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html."""
        new = self.provision()
        counts = {name: len(group.instances) for name, group in new.groups.items()}
        plans = {name: policy.steps(self._policy, count) for name, count in counts.items()}
        for step in range(max(len(plan) for plan in plans.values())):
            # A variant with fewer instances may have fewer steps.
            done = {name: plan[min(step, len(plan) - 1)] for name, plan in plans.items()}
            self._await(instance for group in new.groups.values() for instance in group.instances)
            self._endpoint.stage("ActivatingTraffic")
            if done == counts:
                self._traffic.set(new)
            else:
                active = {
                    name: (policy.left(len(group.instances), counts[name], done[name]), done[name])
                    for name, group in old.groups.items()
                }
                self._traffic.set(old, new, active=active)
            self._bake(self._policy.wait)

    def _roll(self, old: Fleet) -> None:
        """Rolling: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-rolling.html."""
        new = self._make()
        [(name, group)] = new.groups.items()
        leaving = old.groups[name]
        self._sizes = {"old": len(leaving.instances), "new": self.pending.capacities[name].count}
        batch = policy.instances_of(self._policy.size or {}, self._sizes["new"])
        for done in (*range(batch, self._sizes["new"], batch), self._sizes["new"]):
            self._endpoint.stage("Creating")
            self._await(self._traffic.grow(group, done - len(group.instances)))
            left = policy.left(self._sizes["old"], self._sizes["new"], done)
            self._endpoint.stage("ActivatingTraffic")
            self._traffic.set(old, new, active={name: (left, done)})
            self._bake(self._policy.wait)
            if left:
                self._end(leaving.instances[left:], leaving)
        self._traffic.set(new)

    def _roll_back_in_batches(self, old: Fleet, new: Fleet) -> None:
        [(name, leaving)] = new.groups.items()
        group, wanted = old.groups[name], self._sizes["old"]
        size = self._policy.rollback_size
        batch = policy.instances_of(size, wanted) if size else wanted
        while True:
            started = self._traffic.grow(group, min(batch, wanted - len(group.instances)))
            try:
                self._traffic.await_healthy(started, lambda: "")
            except UnhealthyError:
                self._end(started, group)
                self._traffic.set(old, new)
                raise
            left = policy.left(self._sizes["new"], wanted, len(group.instances))
            self._traffic.set(old, new, active={name: (len(group.instances), left)})
            if len(group.instances) == wanted:
                return
            self._end(leaving.instances[left:], leaving)

    def _end(self, instances: list[Instance], group: Any) -> None:
        self._traffic.remove(group, instances)
        self._traffic.end(instances, self._endpoint.settings.invocation_timeout)

    def _await(self, instances: Iterable[Instance]) -> None:
        """Waits until instances are healthy; those that have been, and are not, may take as long as at their start."""
        deadline = time.monotonic() + self._endpoint.settings.health_check_timeout

        def too_late() -> str:
            self._check_time()
            if all(one.was_healthy for one in awaited) and time.monotonic() > deadline:
                return "Instances of the new fleet did not stay healthy."
            return ""

        awaited = list(instances)
        self._traffic.await_healthy(awaited, too_late)

    def _bake(self, seconds: float) -> None:
        """Waits, and watches the alarms meanwhile."""
        clock, stopped = self._endpoint.clock, self._endpoint.stopped
        end = clock.time() + seconds
        self._endpoint.stage("Baking")
        while True:
            self._check_alarms()
            left = end - clock.time()
            if left <= 0:
                return
            self._check_time()
            if clock.wait(stopped, min(left, max(LOOK, SHORTEST_LOOK * clock.speed))):
                raise CancelledError

    def _check_alarms(self) -> None:
        """An alarm that was in ALARM before the deployment rolls it back too.

        AWS tells to leave out alarms that the old fleet sets off:
        https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
        """
        alarms = alarms_of(self._endpoint.region)
        raised = [alarm for name in self._policy.alarms if (alarm := alarms.get(name)) and alarm.state == ALARM]
        if raised:
            names = ", ".join(alarm.name for alarm in raised)
            reasons = " ".join(f"{alarm.name}: {alarm.reason}" for alarm in raised)
            raise RolledBackError(
                f"One or more configured alarm(s) [{names}] went into ALARM state during the deployment, "
                f"which was rolled back. {reasons}"
            )

    def _check_time(self) -> None:
        if self._endpoint.clock.time() > self._is_late_at:
            raise RolledBackError(
                f"The deployment has taken longer than its maximum execution timeout of {self._policy.timeout:.0f} "
                "seconds and was rolled back."
            )
