"""Lambda functions: moto keeps the records, environments run the code, and concurrency is limited as on AWS.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
from random import Random
from typing import Any
from uuid import uuid4

from moto.core.request import Request
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.functions.aliases import Aliases
from whippet.local.functions.configuration import Configuration
from whippet.local.functions.environments import Environment, Host
from whippet.local.functions.events import Events
from whippet.local.functions.invocations import Invoker
from whippet.local.functions.limits import Limits, limits_of
from whippet.local.functions.memory import MemoryWatch
from whippet.local.functions.metering import Metering
from whippet.local.functions.pools import Pools
from whippet.local.functions.provisioned import ProvisionedConcurrency
from whippet.local.functions.records import (
    Function,
    find,
    find_alias,
    function_of,
    functions,
    named_by,
    regions,
    reserved,
)
from whippet.local.functions.runtime import MAX_UNPACKED_BYTES, Packages
from whippet.local.functions.urls import Urls
from whippet.local.monitoring.metrics import Metrics
from whippet.local.services import Forward, Handlers
from whippet.local.settings import Settings
from whippet.local.state import State

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES = 6_291_456
MAX_EVENT_BYTES = 1_048_576
#: Bytes of the log that LogType=Tail returns.
TAIL_BYTES = 4096
#: Bytes of code: what an account may hold, and one function unpacked and packed.
CODE_LIMITS = {
    "TotalCodeSize": 80_530_636_800,
    "CodeSizeUnzipped": MAX_UNPACKED_BYTES,
    "CodeSizeZipped": 52_428_800,
}
#: Seconds of the wall between two looks for idle environments: the clock's speed may change at any time.
RECYCLE_SECONDS = 0.5


class Functions:
    """All Lambda functions of local AWS.

    Args:
        settings: limits, folders, and the gateway's address.
        clock: what waiting follows.
        metrics: takes the metrics of functions.
        state: told of what changes outside of a call.
        random: chooses among the versions of an alias.

    Attributes:
        provisioned: the provisioned concurrency, which can be scaled.
        urls: answers requests to functions' URLs.
    """

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics, state: State, random: Random) -> None:
        self._settings = settings
        self._clock = clock
        self._memory = MemoryWatch()
        self._host = Host(settings, clock, Packages(settings.work / "code"), self._memory)
        self._pools = Pools(clock, self._limits, lambda function: Environment(function, self._host))
        metering = Metering(metrics)
        self._invoker = Invoker(self._pools, metering, random)
        self._events = Events(clock, self._invoker, metering, state)
        self.provisioned = ProvisionedConcurrency(clock, self._pools, self._host, self._limits, state)
        self.urls = Urls(settings, clock, self._invoker, metering)
        self._configuration = Configuration(clock, self._on_change, self._on_delete)
        self._aliases = Aliases(self._on_alias)
        self._stopped = threading.Event()
        self._recycler: threading.Thread | None = None

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteFunctionConcurrency": self.delete_concurrency,
            "GetAccountSettings": self.get_account_settings,
            "GetFunctionConcurrency": self.get_concurrency,
            "Invoke": self.invoke,
            "PutFunctionConcurrency": self.put_concurrency,
        }
        return {
            **{("lambda", name): handler for name, handler in operations.items()},
            **self._aliases.handlers(),
            **self._configuration.handlers(),
            **self._events.handlers(),
            **self.provisioned.handlers(),
            **self.urls.handlers(),
        }

    def invoke(self, call: Call, forward: Forward) -> Response:
        """Invoke: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html."""
        name, qualifier = named_by(call)
        target = self._invoker.resolve(call.region, name, qualifier)
        headers = call.request.headers
        invocation_type = headers.get("X-Amz-Invocation-Type", "RequestResponse")
        payload = _payload(call.body, invocation_type)
        context = _client_context(headers.get("X-Amz-Client-Context", ""))
        request_id = str(uuid4())
        told = {"x-amzn-RequestId": request_id}
        match invocation_type:
            case "DryRun":
                return Response(status=204, headers={**told, "X-Amz-Executed-Version": target.function.version})
            case "Event":
                self._events.put(target, payload, request_id, context)
                return Response(status=202, headers=told)
            case "RequestResponse":
                outcome = self._invoker.invoke(target, payload, request_id, context)
            case _:
                raise AwsError("InvalidParameterValueException", f"Unknown invocation type {invocation_type}.")
        told["X-Amz-Executed-Version"] = target.function.version
        if outcome.is_error:
            told["X-Amz-Function-Error"] = "Unhandled"
        if headers.get("X-Amz-Log-Type") == "Tail":
            told["X-Amz-Log-Result"] = base64.b64encode(outcome.log.encode()[-TAIL_BYTES:]).decode()
        return Response(outcome.payload, 200, told, content_type="application/json")

    def answer_url(self, request: Request) -> Response | None:
        """The answer to a request to a function's URL; None where it is for anything else."""
        return self.urls.answer(request)

    def put_concurrency(self, call: Call, forward: Forward) -> Response:
        """PutFunctionConcurrency: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html."""
        name, _ = named_by(call)
        record, wanted = find(call.region, name), call.params["ReservedConcurrentExecutions"]
        self._limits(call.region).check_reservation(name, wanted)
        record.reserved_concurrency = wanted
        self._pools.trim(call.region, name)
        return answer(call, {"ReservedConcurrentExecutions": wanted})

    def get_concurrency(self, call: Call, forward: Forward) -> Response:
        """GetFunctionConcurrency: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html."""
        name, _ = named_by(call)
        return answer(call, {"ReservedConcurrentExecutions": reserved(find(call.region, name))})

    def delete_concurrency(self, call: Call, forward: Forward) -> Response:
        """DeleteFunctionConcurrency: https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html."""
        name, _ = named_by(call)
        find(call.region, name).reserved_concurrency = None
        return answer(call)

    def get_account_settings(self, call: Call, forward: Forward) -> Response:
        """GetAccountSettings: https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html."""
        limits, known = self._limits(call.region), list(functions(call.region))
        concurrency = {"ConcurrentExecutions": limits.account, "UnreservedConcurrentExecutions": limits.unreserved}
        usage = {"TotalCodeSize": sum(record.code_size for record in known), "FunctionCount": len(known)}
        return answer(call, {"AccountLimit": {**CODE_LIMITS, **concurrency}, "AccountUsage": usage})

    def status(self) -> list[dict[str, Any]]:
        """The functions, for `whippet local status`."""
        told = []
        for region in regions():
            for record in functions(region):
                environments, busy = self._pools.counts(region, record.function_name)
                limits = {"environments": environments, "busy": busy, "reserved": reserved(record)}
                told.append({"name": record.function_name, **limits})
        return told

    def resume(self) -> None:
        """Starts what is provisioned, and goes on with the events that wait."""
        self._settings.work.mkdir(parents=True, exist_ok=True)
        self._stopped = threading.Event()
        self._pools.open()
        self._memory.start()
        self._recycler = threading.Thread(target=self._recycle, args=(self._stopped,), name="lambda", daemon=True)
        self._recycler.start()
        self._events.resume()
        self.provisioned.resume()

    def stop(self) -> None:
        """Ends every environment."""
        self._stopped.set()
        self._events.stop()
        self._pools.close()
        self._events.join()
        self.provisioned.stop()
        self._memory.stop()
        if self._recycler is not None:
            self._recycler.join()
            self._recycler = None

    def _limits(self, region: str) -> Limits:
        return limits_of(region, self._settings.account_concurrency)

    def _recycle(self, stopped: threading.Event) -> None:
        while not stopped.wait(RECYCLE_SECONDS):
            try:
                self._pools.recycle(self._settings.environment_idle)
            except Exception:
                log.exception("idle environments cannot be ended")

    def _on_change(self, region: str, name: str) -> None:
        self._pools.refresh(region, name, lambda version: _current(region, name, version))

    def _on_alias(self, region: str, name: str, alias: str) -> None:
        if find_alias(region, name, alias) is None:
            self._on_delete(region, name, alias)
        else:
            self.provisioned.reconcile(region, name, alias)

    def _on_delete(self, region: str, name: str, qualifier: str) -> None:
        self.provisioned.forget(region, name, qualifier)
        self._events.forget(region, name, qualifier)
        self.urls.forget(region, name, qualifier)
        self._on_change(region, name)


def _current(region: str, name: str, version: str) -> Function | None:
    """What a version is like now; None where it is gone."""
    try:
        return function_of(find(region, name, version), region)
    except AwsError:
        return None


def _payload(body: bytes, invocation_type: str) -> bytes:
    payload, size = body or b"{}", len(body)
    message = ""
    if size > MAX_PAYLOAD_BYTES:
        message = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
    elif invocation_type == "Event" and size > MAX_EVENT_BYTES:
        message = f"{size} byte payload is too large for the Event invocation type (limit {MAX_EVENT_BYTES} bytes)"
    if message:
        # This is the code that Lambda answers; its documentation calls it RequestTooLargeException.
        raise AwsError("RequestEntityTooLargeException", message, status=413, members={"Type": "User"})
    try:
        json.loads(payload)
    except (ValueError, RecursionError) as error:
        message = f"Could not parse request body into json: {error}"
        raise AwsError("InvalidRequestContentException", message, members={"Type": "User"}) from None
    return payload


def _client_context(header: str) -> str:
    """The client context, which the SDKs send in base64; the runtime takes JSON."""
    try:
        return json.dumps(json.loads(base64.b64decode(header, validate=True))) if header else ""
    except (binascii.Error, ValueError):
        message = "Client context must be a valid Base64-encoded JSON object."
        raise AwsError("InvalidRequestContentException", message, members={"Type": "User"}) from None
