"""Fleets of instances, and how invocations are spread over them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from whippet.local.endpoints.configuration import Configuration, Variant
from whippet.local.endpoints.instances import Health, Instance, Launch

#: Seconds of the wall between two looks at whether something is cancelled or too late.
LOOK = 0.25


class UnknownVariantError(Exception):
    """No fleet has a variant of this name, or there is no fleet."""


class NoInstanceError(Exception):
    """No instance can answer now."""


class UnhealthyError(Exception):
    """Instances did not become healthy; the text says why."""


class CancelledError(Exception):
    """Local AWS stops: nothing may be started or noted any more."""


@dataclass
class Group:
    """The instances of one variant.

    Attributes:
        variant: the variant.
        launch: how an instance is started.
        weight: as in `Variant.weight`.
        instances: all of them.
        active: how many of them, from the first, take traffic; None for all.
    """

    variant: Variant
    launch: Launch
    weight: float
    instances: list[Instance] = field(default_factory=list)
    active: int | None = None

    @property
    def ready(self) -> int:
        """How many instances have been healthy since they began: those that are restarted count."""
        return sum(one.was_healthy for one in self.instances)

    def serving(self) -> list[Instance]:
        """Those that take traffic and can."""
        return [one for one in self.instances[: self.active] if one.health is Health.HEALTHY]


class Fleet:
    """The instances of one deployment of an endpoint.

    Args:
        configuration: what it runs.
        groups: its variants, without instances as yet.
        folder: where it runs.
    """

    def __init__(self, configuration: Configuration, groups: Iterable[Group], folder: Path) -> None:
        self.configuration = configuration
        self.groups = {group.variant.name: group for group in groups}
        self._folder = folder

    def instances(self) -> list[Instance]:
        """The instances of all variants."""
        return [instance for group in list(self.groups.values()) for instance in list(group.instances)]

    def discard(self) -> None:
        """Removes its files, once its instances have ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Route(NamedTuple):
    """Where an invocation goes.

    Attributes:
        fleet: the fleet.
        group: the variant.
        instance: the instance.
        peers: how many instances serve the variant now, of all fleets.
    """

    fleet: Fleet
    group: Group
    instance: Instance
    peers: int


class Traffic:
    """Spreads the invocations of one endpoint over its fleets.

    All that take traffic are one pool for each variant: with one instance of the new fleet beside three of the old one,
    a fourth of the traffic is the new fleet's.

    Args:
        random: chooses a variant by weight, and an instance where the variant wants that.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._fleets: tuple[Fleet, ...] = ()
        self._changed = threading.Condition()
        self._turn = 0
        self._is_closed = False

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        """Those that take traffic; the weights of the first one's variants count."""
        return self._fleets

    def set(self, *fleets: Fleet, active: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """Sends the traffic to these fleets from now on.

        Args:
            fleets: the fleets.
            active: how many instances of each of them take traffic, by variant; all unless given.
        """
        with self._changed:
            for place, fleet in enumerate(fleets):
                for name, group in fleet.groups.items():
                    group.active = active[name][place] if active is not None else None
            self._fleets = fleets

    def acquire(self, target: str | None) -> Route:
        """Chooses the instance for an invocation, which `release` must give back.

        The variant is chosen by weight unless the caller names one; of its instances the one with the fewest
        invocations under way, of several the one that waited longest, or any one where the variant wants that:
        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariantRoutingConfig.html
        An instance that is down gets nothing. Where none that should take traffic can, another of the variant does.

        Raises:
            UnknownVariantError: there is no such variant.
            NoInstanceError: none of its instances can answer.
        """
        with self._changed:
            if not self._fleets:
                raise UnknownVariantError
            name = target or self._draw()
            found = [(fleet, fleet.groups[name]) for fleet in self._fleets if name in fleet.groups]
            if not found:
                raise UnknownVariantError
            pool = [(fleet, group, one) for fleet, group in found for one in group.serving()]
            peers = len(pool)
            for health in (Health.HEALTHY, Health.SUSPECT):
                pool = pool or [
                    (fleet, group, one) for fleet, group in found for one in group.instances if one.health is health
                ]
            if not pool:
                raise NoInstanceError
            if found[0][1].variant.is_random:
                fleet, group, instance = self._random.choice(pool)
            else:
                fleet, group, instance = min(pool, key=lambda one: (one[2].load.outstanding, one[2].turn))
            self._turn += 1
            instance.turn = self._turn
            instance.load.change(1)
            return Route(fleet, group, instance, max(1, peers))

    def release(self, route: Route) -> None:
        """Ends an invocation."""
        with self._changed:
            route.instance.load.change(-1)
            if not route.instance.load.outstanding:
                self._changed.notify_all()

    def doubt(self, instance: Instance, health: Health) -> None:
        """Notes that an instance has failed an invocation; its own next check, which comes at once, decides."""
        with self._changed:
            instance.health = health
        instance.check_now()

    def mean_loads(self) -> list[tuple[Group, float]]:
        """For each instance that takes traffic, how many invocations it had at a time since this was asked last."""
        with self._changed:
            return [
                (group, instance.load.take_mean())
                for fleet in self._fleets
                for group in fleet.groups.values()
                for instance in group.instances[: group.active]
            ]

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Gives variants other weights."""
        with self._changed:
            for fleet in self._fleets:
                for name, weight in weights.items():
                    fleet.groups[name].weight = weight

    def grow(self, group: Group, by: int) -> list[Instance]:
        """Starts further instances, which take traffic once they are healthy.

        Raises:
            CancelledError: local AWS stops.
        """
        with self._changed:
            if self._is_closed:
                raise CancelledError
            started = [Instance(group.launch, self._note_change) for _ in range(by)]
            group.instances.extend(started)
            return started

    def remove(self, group: Group, instances: Iterable[Instance]) -> None:
        """Takes instances away; `end` is to follow."""
        gone = list(instances)
        with self._changed:
            group.instances = [one for one in group.instances if one not in gone]

    def await_healthy(self, instances: Iterable[Instance], too_late: Callable[[], str]) -> None:
        """Waits until all of these are healthy.

        Args:
            instances: the instances.
            too_late: why they are not waited for any longer; empty while they are.

        Raises:
            UnhealthyError: one has failed, or it is too late.
            CancelledError: local AWS stops.
        """
        waiting = list(instances)
        with self._changed:
            while True:
                if self._is_closed:
                    raise CancelledError
                if failed := next((one for one in waiting if one.failure), None):
                    raise UnhealthyError(failed.failure)
                if all(one.health is Health.HEALTHY for one in waiting):
                    return
                if reason := too_late():
                    raise UnhealthyError(reason)
                self._changed.wait(LOOK)

    def end(self, instances: Iterable[Instance], drain: float) -> None:
        """Lets the invocations of instances that have been taken away finish, and stops them.

        Args:
            instances: the instances.
            drain: seconds for the invocations under way.
        """
        ending = list(instances)
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or not any(one.load.outstanding for one in ending), max(0.0, drain)
            )
        for one in ending:
            one.stop()
        for one in ending:
            one.join()

    def close(self) -> None:
        """Ends every wait; nothing can be started from now on, and nothing is invoked."""
        with self._changed:
            self._is_closed = True
            self._fleets = ()
            self._changed.notify_all()

    def _note_change(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _draw(self) -> str:
        groups = list(self._fleets[0].groups.values())
        if len(groups) == 1:
            return groups[0].variant.name
        weights = [group.weight for group in groups]
        return self._random.choices(groups, weights if any(weights) else None)[0].variant.name
