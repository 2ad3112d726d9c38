"""The environments of all functions: who gets which, how many there may be, and when they end.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from whippet.local.calls import AwsError
from whippet.local.clock import Clock
from whippet.local.functions.environments import Environment
from whippet.local.functions.limits import Limits
from whippet.local.functions.records import Function, Target

RESERVED_EXCEEDED = "ReservedFunctionConcurrentInvocationLimitExceeded"
ACCOUNT_EXCEEDED = "ConcurrentInvocationLimitExceeded"


@dataclass
class Pool:
    """The environments of one function that are started on demand, whatever its versions.

    Attributes:
        environments: all of them.
        idle: those that wait for an event, the one that was used last at the end.
    """

    environments: set[Environment] = field(default_factory=set)
    idle: list[Environment] = field(default_factory=list)

    @property
    def busy(self) -> int:
        """How many are at work."""
        return len(self.environments) - len(self.idle)

    def take(self, function: Function) -> Environment | None:
        """The environment of a version that was used last; None where none waits."""
        for environment in reversed(self.idle):
            if environment.function == function:
                self.idle.remove(environment)
                return environment
        return None

    def discard(self, environment: Environment) -> None:
        """Forgets an environment."""
        self.environments.discard(environment)
        if environment in self.idle:
            self.idle.remove(environment)


class Key(NamedTuple):
    """What provisioned concurrency belongs to: a version or an alias."""

    region: str
    name: str
    qualifier: str


class Lease(NamedTuple):
    """An environment for one event.

    Attributes:
        environment: it.
        pool: where it comes from and goes back to.
        is_spilled: whether all that are provisioned were busy.
    """

    environment: Environment
    pool: Pool
    is_spilled: bool


class Usage(NamedTuple):
    """How many executions there are at once.

    Attributes:
        function: of the function.
        account: of all functions in the region.
        unreserved: of those without reserved concurrency.
        provisioned: of the version or alias, in environments that are provisioned for it.
        allocated: how many environments are provisioned for it.
    """

    function: int
    account: int
    unreserved: int
    provisioned: int
    allocated: int


class Pools:
    """All environments.

    Args:
        clock: when idle ones end.
        limits: of a region.
        make: a new environment of a function; it starts nothing yet.
    """

    def __init__(self, clock: Clock, limits: Callable[[str], Limits], make: Callable[[Function], Environment]) -> None:
        self._clock = clock
        self._limits = limits
        self._make = make
        self._on_demand: dict[tuple[str, str], Pool] = {}
        self._provisioned: dict[Key, Pool] = {}
        self._lock = threading.Lock()
        self._is_open = False

    def acquire(self, target: Target) -> Lease:
        """Finds an environment for an event, a new one where the limits leave room; `release` gives it back.

        Raises:
            AwsError: TooManyRequestsException.
        """
        function = target.function
        limits = self._limits(function.region)
        with self._lock:
            provisioned = self._provisioned.get(Key(function.region, function.name, target.qualifier))
            if provisioned is not None and (ready := provisioned.take(function)) is not None:
                return Lease(ready, provisioned, is_spilled=False)
            name = (function.region, function.name)
            pool = self._on_demand.get(name, Pool())
            most = limits.on_demand(function.name)
            if most is not None and pool.busy >= most:
                raise throttled(RESERVED_EXCEEDED)
            if most is None and self._unreserved(function.region, limits) >= limits.unreserved:
                raise throttled(ACCOUNT_EXCEEDED)
            self._on_demand[name] = pool
            # Of other versions: no more than the reserved number may ever run.
            evicted = []
            environment = pool.take(function)
            if environment is None:
                while most is not None and pool.idle and len(pool.environments) >= most:
                    evicted.append(pool.idle[0])
                    pool.discard(pool.idle[0])
                environment = self._make(function)
                pool.environments.add(environment)
        kill(evicted)
        return Lease(environment, pool, is_spilled=provisioned is not None)

    def release(self, lease: Lease) -> None:
        """Takes an environment back, and ends it where it can take no further event."""
        environment, pool = lease.environment, lease.pool
        environment.idle_since = self._clock.time()
        with self._lock:
            if environment in pool.environments and self._is_open and not environment.is_outdated:
                pool.idle.append(environment)
                return
            self._drop(pool, environment)
        environment.kill()

    def usage(self, target: Target) -> Usage:
        """How many executions there are at once."""
        function = target.function
        limits = self._limits(function.region)
        with self._lock:
            busy = {key: pool.busy for key, pool in self._on_demand.items() if key[0] == function.region}
            for key, pool in self._provisioned.items():
                if key.region == function.region:
                    busy[key[:2]] = busy.get(key[:2], 0) + pool.busy
            own = self._provisioned.get(Key(function.region, function.name, target.qualifier), Pool())
            return Usage(
                function=busy.get((function.region, function.name), 0),
                account=sum(busy.values()),
                unreserved=sum(count for (_, name), count in busy.items() if name not in limits.reserved),
                provisioned=own.busy,
                allocated=len(own.environments),
            )

    def counts(self, region: str, name: str) -> tuple[int, int]:
        """How many environments a function has, and how many of them are at work."""
        with self._lock:
            pools = self._of(region, name)
            return sum(len(pool.environments) for pool in pools), sum(pool.busy for pool in pools)

    def provisioned(self, key: Key, function: Function | None) -> tuple[int, int]:
        """How many environments of a version are provisioned for it or an alias, and how many wait for an event."""
        with self._lock:
            pool = self._provisioned.get(key, Pool())
            current = [one for one in pool.environments if one.function == function]
            return len(current), sum(one in pool.idle for one in current)

    def provide(self, key: Key, environment: Environment) -> bool:
        """Takes an initialised environment for a version or alias; False once everything has been stopped."""
        with self._lock:
            if not self._is_open:
                return False
            pool = self._provisioned.setdefault(key, Pool())
            pool.environments.add(environment)
            pool.idle.append(environment)
            return True

    def outdate_provisioned(self, key: Key, function: Function | None, most: int) -> None:
        """Ends provisioned environments that are no longer wanted, when they have done what they are at.

        Args:
            key: what they are provisioned for.
            function: the version that is wanted; None for none.
            most: how many of it are wanted.
        """
        with self._lock:
            if (pool := self._provisioned.get(key)) is None:
                return
            wanted = [one for one in pool.environments if one.function == function and not one.is_outdated]
            wanted.sort(key=lambda one: one in pool.idle)  # those at work first: they are kept
            retired = self._retire(pool, pool.environments - set(wanted[:most]))
            if not most:
                del self._provisioned[key]
        kill(retired)

    def refresh(self, region: str, name: str, current: Callable[[str], Function | None]) -> None:
        """Ends the environments of versions that are no more or have changed, when they have done what they are at.

        Args:
            region: where the function is.
            name: of the function.
            current: what a version is like now; None where it is gone.
        """
        retired = []
        with self._lock:
            for pool in self._of(region, name):
                stale = [one for one in pool.environments if current(one.function.version) != one.function]
                retired += self._retire(pool, stale)
        kill(retired)

    def trim(self, region: str, name: str) -> None:
        """Ends idle environments beyond what a function's reservation leaves."""
        most = self._limits(region).on_demand(name)
        with self._lock:
            pool = self._on_demand.get((region, name), Pool())
            surplus = 0 if most is None else max(0, len(pool.environments) - most)
            retired = self._retire(pool, pool.idle[:surplus])
        kill(retired)

    def recycle(self, idle_seconds: float) -> None:
        """Ends the environments that have had nothing to do for so long, save those that are provisioned."""
        before = self._clock.time() - idle_seconds
        retired = []
        with self._lock:
            for pool in list(self._on_demand.values()):
                retired += self._retire(pool, [one for one in pool.idle if one.idle_since <= before])
        kill(retired)

    def open(self) -> None:
        """Lets environments stay for further events."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """Ends every environment."""
        with self._lock:
            self._is_open = False
            pools = [*self._on_demand.values(), *self._provisioned.values()]
            environments = [one for pool in pools for one in pool.environments]
            self._on_demand.clear()
            self._provisioned.clear()
        kill(environments)

    def _of(self, region: str, name: str) -> list[Pool]:
        pools = [pool for key, pool in self._provisioned.items() if key[:2] == (region, name)]
        return [*pools, self._on_demand[(region, name)]] if (region, name) in self._on_demand else pools

    def _unreserved(self, region: str, limits: Limits) -> int:
        """How many on-demand executions there are of functions without reserved concurrency."""
        return sum(
            pool.busy
            for (where, name), pool in self._on_demand.items()
            if where == region and name not in limits.reserved
        )

    def _retire(self, pool: Pool, environments: Iterable[Environment]) -> list[Environment]:
        """Lets environments take no further event; gives those that are idle, which the caller ends."""
        retired = []
        for environment in list(environments):
            environment.is_outdated = True
            if environment in pool.idle:
                self._drop(pool, environment)
                retired.append(environment)
        return retired

    def _drop(self, pool: Pool, environment: Environment) -> None:
        pool.discard(environment)
        key = (environment.function.region, environment.function.name)
        if not pool.environments and self._on_demand.get(key) is pool:
            del self._on_demand[key]


def kill(environments: Iterable[Environment]) -> None:
    """Ends environments."""
    for environment in environments:
        environment.kill()


def throttled(reason: str) -> AwsError:
    """TooManyRequestsException: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors."""
    return AwsError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        members={"Reason": reason, "Type": "User"},
        headers={"Retry-After": "1"},
    )
