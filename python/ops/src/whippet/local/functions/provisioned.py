"""Provisioned concurrency: environments that are initialised ahead of their events.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.functions.environments import Environment, Host
from whippet.local.functions.limits import Limits
from whippet.local.functions.pools import Key, Pools
from whippet.local.functions.records import (
    LATEST,
    Function,
    Provisioning,
    backend_of,
    find,
    find_alias,
    function_arn,
    function_of,
    named_by,
    not_found,
    provisionings,
    qualified,
    regions,
    split_name,
    timestamp,
    weights,
)
from whippet.local.services import Forward, Handlers
from whippet.local.state import State

log = logging.getLogger(__name__)

INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"


class ProvisionedConcurrency:
    """Keeps environments initialised, and scales by them as `lambda:function:ProvisionedConcurrency`.

    Args:
        clock: when a configuration was changed.
        pools: take the environments.
        host: what they run on.
        limits: of a region.
        state: told of changes that are no call's.
    """

    def __init__(self, clock: Clock, pools: Pools, host: Host, limits: Callable[[str], Limits], state: State) -> None:
        self._clock = clock
        self._pools = pools
        self._host = host
        self._limits = limits
        self._state = state
        self._lock = threading.Lock()
        self._is_open = False
        self._failed: set[Key] = set()
        self._to_reconcile: set[Key] = set()
        self._workers: dict[Key, threading.Thread] = {}
        self._starting: set[Environment] = set()

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteProvisionedConcurrencyConfig": self.delete,
            "GetProvisionedConcurrencyConfig": self.get,
            "ListProvisionedConcurrencyConfigs": self.list,
            "PutProvisionedConcurrencyConfig": self.put,
        }
        return {("lambda", name): handler for name, handler in operations.items()}

    def put(self, call: Call, forward: Forward) -> Response:
        """PutProvisionedConcurrencyConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html
        """
        key = Key(call.region, *named_by(call))
        self._set(key, call.params["ProvisionedConcurrentExecutions"])
        told = self._told(key)
        # What is there at once is not told yet.
        return answer(call, {**told, "Status": "IN_PROGRESS", **dict.fromkeys(_COUNTS, 0)})

    def get(self, call: Call, forward: Forward) -> Response:
        """GetProvisionedConcurrencyConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_GetProvisionedConcurrencyConfig.html
        """
        return answer(call, self._told(self._existing(call)))

    def list(self, call: Call, forward: Forward) -> Response:
        """ListProvisionedConcurrencyConfigs, on one page.

        https://docs.aws.amazon.com/lambda/latest/api/API_ListProvisionedConcurrencyConfigs.html
        """
        name, _ = named_by(call)
        find(call.region, name)
        told = [
            {"FunctionArn": qualified(function_arn(call.region, name), qualifier), **self._told(key)}
            for (other, qualifier) in list(provisionings(call.region))
            if other == name and (key := Key(call.region, name, qualifier))
        ]
        return answer(call, {"ProvisionedConcurrencyConfigs": told})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteProvisionedConcurrencyConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_DeleteProvisionedConcurrencyConfig.html
        """
        key = Key(call.region, *named_by(call))
        find(*key)
        self.forget(*key)
        return answer(call)

    def capacity(self, region: str, resource_id: str) -> int | None:
        """How many environments are to be provisioned for `function:NAME:QUALIFIER`; None where there is no such."""
        key = Key(region, *split_name(resource_id))
        if not key.qualifier or _function(key) is None:
            return None
        provisioning = provisionings(region).get(key[1:])
        return provisioning.requested if provisioning else 0

    def set_capacity(self, region: str, resource_id: str, capacity: int) -> None:
        """Changes how many environments are provisioned; none at all means that the configuration is removed.

        Raises:
            AwsError: the limits leave no room for so many.
        """
        key = Key(region, *split_name(resource_id))
        if capacity > 0:
            self._set(key, capacity)
        else:
            self.forget(*key)
        self._state.changed("lambda", region)

    def is_changing(self, region: str, resource_id: str) -> bool:
        """Whether environments are being initialised."""
        key = Key(region, *split_name(resource_id))
        return key[1:] in provisionings(region) and self._told(key)["Status"] == "IN_PROGRESS"

    def forget(self, region: str, name: str, qualifier: str) -> None:
        """Removes the configuration of a version or alias, or all of a function's where the qualifier is empty."""
        for other, whose in list(provisionings(region)):
            if other == name and qualifier in ("", whose):
                del provisionings(region)[other, whose]
                self._pools.outdate_provisioned(Key(region, name, whose), None, 0)

    def reconcile(self, region: str, name: str, qualifier: str) -> None:
        """Starts and ends environments in the background until there are as many as there should be."""
        key = Key(region, name, qualifier)
        with self._lock:
            self._failed.discard(key)
            if not self._is_open or key[1:] not in provisionings(region):
                return
            self._to_reconcile.add(key)
            if key in self._workers:
                return
            worker = threading.Thread(target=self._work, args=(key,), name=f"provision-{name}", daemon=True)
            self._workers[key] = worker
        worker.start()

    def resume(self) -> None:
        """Starts what the records say."""
        with self._lock:
            self._is_open = True
        for region in regions():
            for name, qualifier in list(provisionings(region)):
                self.reconcile(region, name, qualifier)

    def stop(self) -> None:
        """Ends the environments that are being started; the others are the pools'."""
        with self._lock:
            self._is_open = False
            self._to_reconcile.clear()
            self._failed.clear()
            workers, starting = list(self._workers.values()), list(self._starting)
        for environment in starting:
            environment.kill()
        for worker in workers:
            worker.join()

    def _existing(self, call: Call) -> Key:
        key = Key(call.region, *named_by(call))
        find(*key)
        if key[1:] not in provisionings(call.region):
            message = "No Provisioned Concurrency Config found for this function"
            raise AwsError("ProvisionedConcurrencyConfigNotFoundException", message, members={"Type": "User"})
        return key

    def _set(self, key: Key, requested: int) -> None:
        """Changes a configuration.

        Raises:
            AwsError: it is not possible.
        """
        region, name, qualifier = key
        _check_qualifier(key)
        known = provisionings(region)
        others = sum(one.requested for other, one in known.items() if other[0] == name and other[1] != qualifier)
        self._limits(region).check_provisioned(name, others + requested)
        known[name, qualifier] = Provisioning(requested, self._clock.time())
        self.reconcile(*key)

    def _told(self, key: Key) -> dict[str, Any]:
        provisioning = provisionings(key.region)[key[1:]]
        allocated, idle = self._pools.provisioned(key, _function(key))
        told: dict[str, Any] = {
            "RequestedProvisionedConcurrentExecutions": provisioning.requested,
            "AllocatedProvisionedConcurrentExecutions": min(allocated, provisioning.requested),
            "AvailableProvisionedConcurrentExecutions": min(idle, provisioning.requested),
            "LastModified": timestamp(provisioning.modified_at),
        }
        if key in self._failed:
            return {**told, "Status": "FAILED", "StatusReason": INIT_FAILURE}
        return {**told, "Status": "READY" if allocated >= provisioning.requested else "IN_PROGRESS"}

    def _work(self, key: Key) -> None:
        while True:
            with self._lock:
                if key not in self._to_reconcile:
                    del self._workers[key]
                    return
                self._to_reconcile.discard(key)
            try:
                self._converge(key)
            except Exception:
                self._failed.add(key)
                log.exception("provisioned concurrency of %s:%s failed", key.name, key.qualifier)

    def _converge(self, key: Key) -> None:
        """Initialises environments until there are enough, and ends those of another version then."""
        while True:
            function, provisioning = _function(key), provisionings(key.region).get(key[1:])
            wanted = provisioning.requested if function and provisioning else 0
            allocated, _ = self._pools.provisioned(key, function)
            if function is None or allocated >= wanted:
                break
            if not self._add(key, function):
                self._failed.add(key)
                break
        self._pools.outdate_provisioned(key, function, wanted)

    def _add(self, key: Key, function: Function) -> bool:
        environment = Environment(function, self._host, is_provisioned=True)
        with self._lock:
            if self._is_open:
                self._starting.add(environment)
            is_ready = self._is_open
        try:
            is_ready = is_ready and environment.initialise() and self._pools.provide(key, environment)
        finally:
            with self._lock:
                self._starting.discard(environment)
            if not is_ready:
                environment.kill()
        return is_ready


_COUNTS = ("AllocatedProvisionedConcurrentExecutions", "AvailableProvisionedConcurrentExecutions")


def _function(key: Key) -> Function | None:
    """The version that is provisioned; None where it is gone."""
    try:
        alias = find_alias(*key)
        return function_of(find(key.region, key.name, alias.function_version if alias else key.qualifier), key.region)
    except AwsError:
        return None


def _check_qualifier(key: Key) -> None:
    """Checks that something can be provisioned for a version or alias.

    Raises:
        AwsError: it cannot.
    """
    region, name, qualifier = key
    if not qualifier:
        raise not_found(region, name)
    find(*key)
    alias = find_alias(*key)
    if LATEST in (qualifier, alias.function_version if alias else ""):
        message = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        raise AwsError("InvalidParameterValueException", message, members={"Type": "User"})
    if alias and weights(alias):
        message = "Alias with weights can not be used with Provisioned Concurrency"
        raise AwsError("InvalidParameterValueException", message, members={"Type": "User"})
    known = provisionings(region)
    if alias and (name, alias.function_version) in known:
        message = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        raise AwsError("ResourceConflictException", message, members={"Type": "User"})
    for other in backend_of(region).list_aliases(name):
        if other.function_version == qualifier and (name, other.name) in known:
            message = "Version is pointed by a Provisioned Concurrency alias"
            raise AwsError("ResourceConflictException", message, members={"Type": "User"})
