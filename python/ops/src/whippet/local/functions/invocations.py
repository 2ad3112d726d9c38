"""Runs events: finds an environment, lets it work and meters it."""

from __future__ import annotations

from random import Random

from whippet.local.calls import AwsError
from whippet.local.functions import records, runtime
from whippet.local.functions.environments import Event, Outcome
from whippet.local.functions.metering import Metering
from whippet.local.functions.pools import Lease, Pools
from whippet.local.functions.records import Target


class Invoker:
    """Runs functions.

    Args:
        pools: where the environments are.
        metering: what it is told to.
        random: chooses among the versions of an alias.
    """

    def __init__(self, pools: Pools, metering: Metering, random: Random) -> None:
        self._pools = pools
        self._metering = metering
        self._random = random

    def resolve(self, region: str, name: str, qualifier: str) -> Target:
        """What an invocation is for.

        Raises:
            AwsError: there is no such function.
        """
        return records.resolve(region, name, qualifier, self._random)

    def invoke(self, target: Target, body: bytes, request_id: str, client_context: str = "") -> Outcome:
        """Runs a function.

        Raises:
            AwsError: TooManyRequestsException.
        """
        return self.run(self.acquire(target), target, body, request_id, client_context)

    def acquire(self, target: Target) -> Lease:
        """Finds an environment, which `run` gives back.

        Raises:
            AwsError: TooManyRequestsException.
        """
        try:
            lease = self._pools.acquire(target)
        except AwsError:
            self._metering.throttled(target)
            raise
        usage = self._pools.usage(target)
        self._metering.started(target, usage, lease.is_spilled, lease.environment.is_provisioned)
        return lease

    def run(self, lease: Lease, target: Target, body: bytes, request_id: str, client_context: str = "") -> Outcome:
        """Runs a function in an environment that `acquire` has found."""
        try:
            outcome = lease.environment.run(Event(request_id, body, target.arn, client_context))
        except runtime.BadCodeError as error:
            raise AwsError("InvalidZipFileException", str(error)) from error
        finally:
            self._pools.release(lease)
        self._metering.finished(target, outcome.is_error, outcome.duration_ms)
        return outcome
