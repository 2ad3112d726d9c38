"""Asynchronous invocation: the queue of events, and its retries.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from dataclasses import dataclass
from uuid import uuid4

from whippet.local.calls import AwsError
from whippet.local.clock import Clock
from whippet.local.functions import event_settings
from whippet.local.functions.destinations import (
    DeliveryError,
    Destinations,
    dead_letter_attributes,
    invocation_record,
)
from whippet.local.functions.environments import Outcome
from whippet.local.functions.event_settings import DEFAULT_AGE, DEFAULT_RETRIES, EventSettingsCalls, settings_of
from whippet.local.functions.invocations import Invoker
from whippet.local.functions.metering import Metering
from whippet.local.functions.pools import Lease
from whippet.local.functions.records import Target, backend_of, extras, find, regions, reserved
from whippet.local.records import shelf
from whippet.local.services import Handlers
from whippet.local.state import State

log = logging.getLogger(__name__)

#: Seconds before the second and the third try of an event that the function has failed at.
RETRY_SECONDS = (60.0, 120.0)
#: Seconds before an event is tried again that was throttled: doubled each time, from the first to the second.
FIRST_BACKOFF, LAST_BACKOFF = 1.0, 300.0
#: Seconds of the wall after which the queue is looked at whatever the clock said: its speed may have been changed.
LONGEST_WAIT = 0.5


@dataclass
class Queued:
    """An event that waits.

    Attributes:
        region: of the function.
        name: of the function.
        qualifier: the version or alias that it was sent to; empty for neither.
        request_id: its id.
        payload: JSON.
        client_context: JSON that the caller has sent along; empty where it has not.
        accepted_at: seconds since 1970.
        due_at: when it is tried next.
        runs: how often the function has failed at it.
        throttles: how often there was no room for it.
    """

    region: str
    name: str
    qualifier: str
    request_id: str
    payload: bytes
    client_context: str
    accepted_at: float
    due_at: float
    runs: int = 0
    throttles: int = 0


class Events:
    """The queue of all functions; one thread looks who is due, and each event that runs has one.

    Args:
        clock: what retries wait by.
        invoker: runs functions.
        metering: is told of events that come and go.
        state: told of what changes outside of a call.
    """

    def __init__(self, clock: Clock, invoker: Invoker, metering: Metering, state: State) -> None:
        self._clock = clock
        self._invoker = invoker
        self._metering = metering
        self._state = state
        self._settings_calls = EventSettingsCalls(clock)
        self._destinations = Destinations(self._put_for, state)
        self._due: list[tuple[float, int, Queued]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_open = False
        self._scheduler: threading.Thread | None = None
        self._running: set[threading.Thread] = set()

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return self._settings_calls.handlers()

    def put(self, target: Target, payload: bytes, request_id: str, client_context: str = "") -> None:
        """Takes an event for a function."""
        function, now = target.function, self._clock.time()
        queued = Queued(function.region, function.name, target.qualifier, request_id, payload, client_context, now, now)
        _queue(function.region)[request_id] = queued
        self._metering.received(target)
        self._state.changed("lambda", function.region)
        self._schedule(queued, 0.0)

    def forget(self, region: str, name: str, qualifier: str) -> None:
        """Removes what is set for a function, version or alias that is gone; its events are dropped when due."""
        event_settings.forget(region, name, qualifier)

    def resume(self) -> None:
        """Goes on with the events on record."""
        with self._changed:
            self._is_open = True
        for region in regions():
            for queued in list(_queue(region).values()):
                self._schedule(queued, max(0.0, queued.due_at - self._clock.time()))
        self._scheduler = threading.Thread(target=self._run, name="lambda-events", daemon=True)
        self._scheduler.start()

    def stop(self) -> None:
        """Tries no further event; those that run are not waited for."""
        with self._changed:
            self._is_open = False
            self._due.clear()
            self._changed.notify_all()
        if self._scheduler is not None:
            self._scheduler.join()
            self._scheduler = None

    def join(self) -> None:
        """Waits for the events that run, after their environments have been ended."""
        for thread in list(self._running):
            thread.join()

    def _put_for(self, region: str, name: str, qualifier: str, payload: bytes) -> None:
        self.put(self._invoker.resolve(region, name, qualifier), payload, str(uuid4()))

    def _schedule(self, queued: Queued, seconds: float) -> None:
        queued.due_at = self._clock.time() + seconds
        with self._changed:
            if self._is_open:
                heapq.heappush(self._due, (queued.due_at, next(self._numbers), queued))
                self._changed.notify_all()

    def _run(self) -> None:
        while (queued := self._next()) is not None:
            try:
                self._try(queued)
            except Exception:
                log.exception("event %s of function %s failed", queued.request_id, queued.name)
                self._back_off(queued)

    def _next(self) -> Queued | None:
        """The next event, when it is due; None when there will be no more."""
        with self._changed:
            while self._is_open:
                if not self._due:
                    self._changed.wait()
                    continue
                seconds = self._due[0][0] - self._clock.time()
                if seconds <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(min(LONGEST_WAIT, seconds / self._clock.speed))
        return None

    def _try(self, queued: Queued) -> None:
        """Starts an event, or puts it back where there is no room."""
        try:
            target = self._invoker.resolve(queued.region, queued.name, queued.qualifier)
        except AwsError as error:
            log.warning("event %s of function %s is dropped: %s", queued.request_id, queued.name, error)
            self._remove(queued)
            return
        age = self._clock.time() - queued.accepted_at
        settings = settings_of(queued.region, queued.name, queued.qualifier)
        if reserved(find(queued.region, queued.name)) == 0:
            self._finish(queued, target, "ZeroReservedConcurrency", None)
            return
        if age > (DEFAULT_AGE if settings.age is None else settings.age):
            self._finish(queued, target, "EventAgeExceeded", None)
            return
        try:
            lease = self._invoker.acquire(target)
        except AwsError:
            self._back_off(queued)
            return
        self._metering.waited(target, age * 1000)
        thread = threading.Thread(
            target=self._handle, args=(queued, target, lease), name=f"event-{queued.name}", daemon=True
        )
        self._running.add(thread)
        thread.start()

    def _back_off(self, queued: Queued) -> None:
        seconds = min(LAST_BACKOFF, FIRST_BACKOFF * 2 ** min(queued.throttles, 16))
        queued.throttles += 1
        self._schedule(queued, seconds)

    def _handle(self, queued: Queued, target: Target, lease: Lease) -> None:
        """Runs one try of an event."""
        try:
            outcome = self._invoker.run(lease, target, queued.payload, queued.request_id, queued.client_context)
            if self._is_open:  # else the environment was ended with everything, and the event is tried again later
                self._note(queued, target, outcome)
        except Exception:
            log.exception("event %s of function %s failed", queued.request_id, queued.name)
            self._back_off(queued)
        finally:
            self._running.discard(threading.current_thread())

    def _note(self, queued: Queued, target: Target, outcome: Outcome) -> None:
        queued.runs += 1
        retries = settings_of(queued.region, queued.name, queued.qualifier).retries
        if not outcome.is_error:
            self._finish(queued, target, "Success", outcome)
        elif queued.runs > (DEFAULT_RETRIES if retries is None else retries):
            self._finish(queued, target, "RetriesExhausted", outcome)
        else:
            self._schedule(queued, RETRY_SECONDS[queued.runs - 1])
            self._state.changed("lambda", queued.region)

    def _finish(self, queued: Queued, target: Target, condition: str, outcome: Outcome | None) -> None:
        """Tells what became of an event, and forgets it."""
        settings = settings_of(queued.region, queued.name, queued.qualifier)
        is_success = condition == "Success"
        if not is_success:
            self._metering.dropped(target)
        try:
            if destination := settings.on_success if is_success else settings.on_failure:
                record = invocation_record(
                    target, queued.request_id, queued.payload, condition, queued.runs, outcome, self._clock.time()
                )
                self._destinations.tell(destination, target.function, record)
        except DeliveryError as error:
            log.warning("event %s of function %s: %s", queued.request_id, queued.name, error)
            self._metering.undelivered(target, is_dead_letter=False)
        try:
            dead_letters = extras(find(queued.region, queued.name)).get("DeadLetterConfig", {}).get("TargetArn")
            if dead_letters and not is_success:
                attributes = dead_letter_attributes(queued.request_id, condition, outcome)
                self._destinations.tell_dead_letter(dead_letters, target.function, queued.payload, attributes)
        except DeliveryError as error:
            log.warning("event %s of function %s: %s", queued.request_id, queued.name, error)
            self._metering.undelivered(target, is_dead_letter=True)
        self._remove(queued)

    def _remove(self, queued: Queued) -> None:
        _queue(queued.region).pop(queued.request_id, None)
        self._state.changed("lambda", queued.region)


def _queue(region: str) -> dict[str, Queued]:
    return shelf(backend_of(region), "events")
