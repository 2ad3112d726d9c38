"""One endpoint while local AWS runs: its record, its traffic and what is being done to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from whippet.local.calls import AwsError
from whippet.local.clock import Clock
from whippet.local.endpoints.configuration import Configuration
from whippet.local.endpoints.fleet import CancelledError, Fleet, Traffic
from whippet.local.endpoints.instances import MAX_REASON
from whippet.local.endpoints.records import Capacity, Deployed
from whippet.local.settings import Settings
from whippet.local.state import State

log = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL, at most, when local AWS stops.
STOP_GRACE = 2.0
#: What an endpoint must be in to be changed, and to be deleted. Of one that has failed, nothing but DeleteEndpoint can
#: be made: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html
CHANGEABLE = ("InService", "UpdateRollbackFailed")
DELETABLE = (*CHANGEABLE, "Failed", "OutOfService")


@dataclass
class Pending:
    """A deployment in progress, as PendingDeploymentSummary tells it.

    Attributes:
        configuration: what is being deployed.
        capacities: what its variants shall have.
        started_at: when it began.
        stage: a VariantStatus.
        stage_since: since when.
        fleet: what is being started; None until the models are there.
    """

    configuration: Configuration
    capacities: dict[str, Capacity]
    started_at: datetime
    stage: str
    stage_since: datetime
    fleet: Fleet | None = None


class Endpoint:
    """One endpoint.

    Args:
        region: where it is.
        record: moto's record of it.
        deployed: what else is on record.
        traffic: spreads its invocations.
        settings: how local AWS runs.
        clock: what it waits by.
        state: told of what changes outside of a call.

    Attributes:
        pending: the deployment in progress.
        stopped: set when local AWS stops.
        lock: held while the status is looked at and changed.
    """

    def __init__(
        self,
        region: str,
        record: Any,
        deployed: Deployed,
        traffic: Traffic,
        *,
        settings: Settings,
        clock: Clock,
        state: State,
    ) -> None:
        self.region = region
        self.record = record
        self.deployed = deployed
        self.traffic = traffic
        self.settings = settings
        self.clock = clock
        self.pending: Pending | None = None
        self.stopped = threading.Event()
        self.lock = threading.RLock()
        self._state = state
        self._fleets: list[Fleet] = []
        self._threads: set[threading.Thread] = set()

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record.endpoint_name)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.record.arn)

    @property
    def status(self) -> str:
        """Its EndpointStatus."""
        return str(self.record.endpoint_status)

    @property
    def fleets(self) -> list[Fleet]:
        """All fleets that have instances, whether they take traffic or not."""
        with self.lock:
            return list(self._fleets)

    def begin(self, status: str, allowed: tuple[str, ...]) -> None:
        """Begins a change.

        Args:
            status: what the endpoint is in meanwhile.
            allowed: what it must be in.

        Raises:
            AwsError: it is not.
        """
        with self.lock:
            if self.status not in allowed:
                if self.status == "Failed":
                    raise AwsError("ValidationException", f'Cannot update endpoint "{self.arn}" in status Failed.')
                raise AwsError("ValidationException", f'Cannot update in-progress endpoint "{self.arn}".')
            self.note(status)

    def note(self, status: str, reason: str | None = None) -> None:
        """Puts a status on record.

        Raises:
            CancelledError: local AWS stops, and what ends with it is not on record as ended by itself.
        """
        with self.lock:
            if self.stopped.is_set():
                raise CancelledError
            self.record.endpoint_status = status
            self.record.failure_reason = reason[:MAX_REASON] if reason else None
            self.record.last_modified_time = self.clock.now().replace(tzinfo=None)
        self.save()

    def save(self) -> None:
        """Saves what is on record."""
        self._state.changed("sagemaker", self.region)

    def stage(self, status: str) -> None:
        """Notes the stage of the deployment in progress."""
        with self.lock:
            if self.pending is not None:
                self.pending.stage, self.pending.stage_since = status, self.clock.now()

    def add(self, fleet: Fleet) -> None:
        """Takes a new fleet in."""
        with self.lock:
            self._fleets.append(fleet)

    def retire(self, *fleets: Fleet) -> None:
        """Ends fleets that take no more traffic, once what they are at is done."""
        self.traffic.end((one for fleet in fleets for one in fleet.instances()), self.settings.invocation_timeout)
        for fleet in fleets:
            fleet.discard()
        with self.lock:
            self._fleets = [fleet for fleet in self._fleets if fleet not in fleets]

    def in_background(self, work: Callable[..., None], *arguments: Any) -> None:
        """Does something in a thread of its own, which `stop` waits for."""

        def run() -> None:
            try:
                work(*arguments)
            except CancelledError:
                pass
            except Exception:
                log.exception("endpoint %s", self.name)
            finally:
                with self.lock:
                    self._threads.discard(threading.current_thread())

        with self.lock:
            if self.stopped.is_set():
                return
            thread = threading.Thread(target=run, name=f"endpoint-{self.name}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def stop(self) -> None:
        """Ends every process and every thread, at once and without a note on record."""
        with self.lock:
            self.stopped.set()
            threads = list(self._threads)
        self.traffic.close()
        for fleet in self.fleets:
            for instance in fleet.instances():
                instance.stop(STOP_GRACE)
        for thread in threads:
            thread.join()
        for fleet in self.fleets:
            for instance in fleet.instances():
                instance.stop(STOP_GRACE)
                instance.join()
            fleet.discard()
