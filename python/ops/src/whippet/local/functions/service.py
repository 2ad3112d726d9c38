"""Lambda functions: moto keeps the records, environments run the code, and concurrency is limited as on AWS.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call
from whippet.local.functions import runtime
from whippet.local.functions.environments import Environment, Function, Outcome
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT, Settings

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES = 6_291_456
MAX_EVENT_BYTES = 1_048_576
#: Bytes of the log that LogType=Tail returns.
TAIL_BYTES = 4096
#: Operations after which environments may run what is no more.
CHANGES = ("UpdateFunctionCode", "UpdateFunctionConfiguration", "PutFunctionConcurrency", "DeleteFunction")


@dataclass
class Pool:
    """The environments of one function, whatever its versions.

    Attributes:
        count: how many there are, starting ones included: what reserved concurrency limits.
        idle: those that wait for an event.
    """

    count: int = 0
    idle: list[Environment] = field(default_factory=list)


class Functions:
    """All Lambda functions of local AWS."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pools: dict[str, Pool] = {}
        self._environments: set[Environment] = set()
        self._changed = threading.Condition()
        self._epoch = 0

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        return {("lambda", "Invoke"): self.invoke, **{("lambda", operation): self.change for operation in CHANGES}}

    def change(self, call: Call, forward: Forward) -> Response:
        """An operation after which the environments it concerns are retired."""
        answer = forward(call)
        name, _ = _split_name(call.labels["FunctionName"])
        retired = []
        with self._changed:
            for environment in [one for one in self._environments if one.function.name == name]:
                environment.is_outdated = True
                pool = self._pools[environment.function.pool]
                if environment in pool.idle:
                    pool.idle.remove(environment)
                    self._forget(environment)
                    retired.append(environment)
        for environment in retired:
            environment.kill()
        return answer

    def invoke(self, call: Call, forward: Forward) -> Response:
        """Invoke: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html."""
        function, record = self._find(call)
        invocation_type = call.request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        payload = self._payload(call, MAX_EVENT_BYTES if invocation_type == "Event" else MAX_PAYLOAD_BYTES)
        request_id = str(uuid.uuid4())
        headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": function.version}
        match invocation_type:
            case "DryRun":
                return Response(status=204, headers=headers)
            case "Event":
                arguments = (function, record, payload, request_id)
                threading.Thread(target=self._run_later, args=arguments, daemon=True).start()
                return Response(status=202, headers=headers)
            case "RequestResponse":
                outcome = self._run(function, record, payload, request_id, may_wait=False)
            case _:
                raise AwsError("InvalidParameterValueException", f"Unknown invocation type {invocation_type}.")
        if outcome.is_error:
            headers["X-Amz-Function-Error"] = "Unhandled"
        if call.request.headers.get("X-Amz-Log-Type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log.encode()[-TAIL_BYTES:]).decode()
        return Response(outcome.payload, 200, headers, content_type="application/json")

    def status(self) -> list[dict[str, Any]]:
        """The functions, for `whippet local status`."""
        functions = [
            record for region in list(lambda_backends[ACCOUNT].values()) for record in region.list_functions(None)
        ]
        with self._changed:
            pools = {record.function_arn: self._pools.get(record.function_arn, Pool()) for record in functions}
            return [
                {
                    "name": record.function_name,
                    "environments": pools[record.function_arn].count,
                    "busy": pools[record.function_arn].count - len(pools[record.function_arn].idle),
                    "reserved": _reserved(record),
                }
                for record in functions
            ]

    def resume(self) -> None:
        """Nothing is on record when a local AWS starts."""

    def stop(self) -> None:
        """Ends every environment."""
        with self._changed:
            self._epoch += 1
            environments = list(self._environments)
            self._environments.clear()
            self._pools.clear()
            self._changed.notify_all()
        for environment in environments:
            environment.kill()

    def _find(self, call: Call) -> tuple[Function, Any]:
        """The function that a call names, by name, partial or whole ARN, and qualifier."""
        name, qualifier = _split_name(call.labels["FunctionName"])
        qualifier = call.request.args.get("Qualifier") or qualifier
        try:
            record = lambda_backends[ACCOUNT][call.region].get_function(name, qualifier)
        except UnknownFunctionException:
            arn = call.arn(f"function:{name}" + (f":{qualifier}" if qualifier else ""))
            raise AwsError(
                "ResourceNotFoundException", f"Function not found: {arn}", members={"Type": "User"}
            ) from None
        return _function(record, call.region), record

    def _payload(self, call: Call, limit: int) -> bytes:
        payload = call.body or b"{}"
        if len(payload) > limit:
            message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
            raise AwsError("RequestTooLargeException", message)
        try:
            json.loads(payload)
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise AwsError("InvalidRequestContentException", message, members={"Type": "User"}) from None
        return payload

    def _run_later(self, function: Function, record: Any, payload: bytes, request_id: str) -> None:
        try:
            self._run(function, record, payload, request_id, may_wait=True)
        except AwsError as error:
            log.warning("function %s: event %s: %s", function.name, request_id, error)

    def _run(self, function: Function, record: Any, payload: bytes, request_id: str, may_wait: bool) -> Outcome:
        environment = self._acquire(function, record, may_wait)
        try:
            outcome = environment.run(payload, request_id)
        finally:
            self._release(environment)
        if len(outcome.payload) > MAX_PAYLOAD_BYTES:
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            error = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
            return Outcome(json.dumps(error).encode(), True, outcome.log)
        return outcome

    def _acquire(self, function: Function, record: Any, may_wait: bool) -> Environment:
        """Takes a warm environment, or starts one where the limits leave room.

        Raises:
            AwsError: TooManyRequestsException, unless the caller may wait.
        """
        evicted: list[Environment] = []
        with self._changed:
            epoch = self._epoch
            while True:
                pool = self._pools.setdefault(function.pool, Pool())
                if warm := self._take_idle(pool, function, evicted):
                    break
                reason = self._exhausted(function, pool)
                if reason is None:
                    pool.count += 1
                    break
                if pool.idle:  # of another version
                    self._forget(pool.idle[0])
                    evicted.append(pool.idle.pop(0))
                    continue
                if not may_wait:
                    raise _throttled(reason)
                self._changed.wait()
                if epoch != self._epoch:
                    raise _gone(function)
        # Before another takes their place: no more than the reserved number may ever run.
        for environment in evicted:
            environment.kill()
        return warm or self._start(function, record, epoch)

    def _take_idle(self, pool: Pool, function: Function, evicted: list[Environment]) -> Environment | None:
        """The environment that was used last; moves those that have died to `evicted`."""
        for environment in reversed(pool.idle.copy()):
            if environment.function == function:
                pool.idle.remove(environment)
                if environment.is_alive():
                    return environment
                self._forget(environment)
                evicted.append(environment)
        return None

    def _exhausted(self, function: Function, pool: Pool) -> str | None:
        """Why no environment may be started; None if one may."""
        latest = [one for region in list(lambda_backends[ACCOUNT].values()) for one in region.list_functions(None)]
        reserved = {one.function_arn: limit for one in latest if (limit := _reserved(one)) is not None}
        if function.pool in reserved:
            is_full = pool.count >= reserved[function.pool]
            return "ReservedFunctionConcurrentInvocationLimitExceeded" if is_full else None
        busy = sum(other.count - len(other.idle) for arn, other in self._pools.items() if arn not in reserved)
        is_full = busy >= self._settings.account_concurrency - sum(reserved.values())
        return "ConcurrentInvocationLimitExceeded" if is_full else None

    def _start(self, function: Function, record: Any, epoch: int) -> Environment:
        work = self._settings.work
        try:
            environment = Environment(
                function,
                runtime.unpack(record.code_bytes, work / "code"),
                work,
                self._settings.url,
                self._settings.init_timeout,
            )
        except BaseException as error:
            with self._changed:
                self._pools[function.pool].count -= 1
                self._changed.notify_all()
            if isinstance(error, runtime.BadCodeError):
                raise AwsError("InvalidZipFileException", str(error)) from error
            raise
        with self._changed:
            if epoch == self._epoch:
                self._environments.add(environment)
                return environment
        environment.kill()
        raise _gone(function)

    def _release(self, environment: Environment) -> None:
        with self._changed:
            is_known = environment in self._environments
            is_usable = is_known and environment.is_alive() and not environment.is_outdated
            if is_usable:
                self._pools[environment.function.pool].idle.append(environment)
                self._changed.notify_all()
        if not is_usable:
            environment.kill()
            with self._changed:
                if environment in self._environments:
                    self._forget(environment)

    def _forget(self, environment: Environment) -> None:
        self._environments.discard(environment)
        self._pools[environment.function.pool].count -= 1
        self._changed.notify_all()


def _throttled(reason: str) -> AwsError:
    return AwsError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        members={"Reason": reason, "Type": "User"},
        headers={"Retry-After": "1"},
    )


def _split_name(named: str) -> tuple[str, str | None]:
    """The name and qualifier in NAME, NAME:QUALIFIER, ACCOUNT:function:NAME or an ARN."""
    parts = named.split(":")
    if "function" in parts[:-1]:
        parts = parts[parts.index("function") + 1 :]
    return parts[0], parts[1] if len(parts) > 1 else None


def _gone(function: Function) -> AwsError:
    return AwsError("ResourceNotFoundException", f"Function not found: {function.arn}", members={"Type": "User"})


def _function(record: Any, region: str) -> Function:
    if record.package_type != "Zip" or not str(record.run_time).startswith("python"):
        raise AwsError("InvalidParameterValueException", "Local AWS runs zips for a Python runtime, nothing else.")
    variables: Mapping[str, str] = record.environment_vars or {}
    return Function(
        arn=record.function_arn,
        name=record.function_name,
        version=str(record.version),
        region=region,
        code_sha256=record.code_sha_256,
        handler=record.handler,
        runtime=record.run_time,
        role_arn=record.role,
        memory_mb=int(record.memory_size),
        timeout=int(record.timeout),
        variables=tuple(sorted(variables.items())),
    )


def _reserved(record: Any) -> int | None:
    return None if record.reserved_concurrency is None else int(record.reserved_concurrency)
