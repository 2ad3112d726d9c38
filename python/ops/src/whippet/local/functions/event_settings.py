"""How events are retried, and who is told what became of them.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.functions.destinations import DeliveryError, check_destination
from whippet.local.functions.records import (
    LATEST,
    backend_of,
    find,
    function_arn,
    named_by,
    qualified,
    split_name,
)
from whippet.local.records import shelf
from whippet.local.services import Forward, Handlers

DEFAULT_RETRIES = 2
DEFAULT_AGE = 6 * 3600


@dataclass(frozen=True)
class EventSettings:
    """What is set for the events of a function, of a version or of an alias.

    Attributes:
        retries: how often an event is tried again that the function fails at; None where it is not set.
        age: seconds after which an event is given up; None where it is not set.
        on_success: ARN of what is told of a success; empty for nobody.
        on_failure: ARN of what is told of a failure; empty for nobody.
        modified_at: seconds since 1970.
    """

    retries: int | None = None
    age: int | None = None
    on_success: str = ""
    on_failure: str = ""
    modified_at: float = 0.0


def settings_of(region: str, name: str, qualifier: str) -> EventSettings:
    """What is set for the events that were sent to a version or alias."""
    return _all(region).get((name, qualifier or LATEST), EventSettings())


def forget(region: str, name: str, qualifier: str) -> None:
    """Removes what is set for a version or alias, or for all of a function where the qualifier is empty."""
    for other, whose in list(_all(region)):
        if other == name and qualifier in ("", whose):
            del _all(region)[other, whose]


class EventSettingsCalls:
    """The operations on `EventSettings`.

    Args:
        clock: when they were changed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteFunctionEventInvokeConfig": self.delete,
            "GetFunctionEventInvokeConfig": self.get,
            "ListFunctionEventInvokeConfigs": self.list,
            "PutFunctionEventInvokeConfig": self.put,
            "UpdateFunctionEventInvokeConfig": self.update,
        }
        return {("lambda", name): handler for name, handler in operations.items()}

    def put(self, call: Call, forward: Forward) -> Response:
        """PutFunctionEventInvokeConfig, in the place of what was set before.

        https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
        """
        return self._change(call, _key(call), EventSettings())

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateFunctionEventInvokeConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionEventInvokeConfig.html
        """
        return self._change(call, _key(call), _existing(call))

    def get(self, call: Call, forward: Forward) -> Response:
        """GetFunctionEventInvokeConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionEventInvokeConfig.html
        """
        return answer(call, _told(call.region, _key(call), _existing(call)))

    def list(self, call: Call, forward: Forward) -> Response:
        """ListFunctionEventInvokeConfigs, on one page.

        https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionEventInvokeConfigs.html
        """
        name, _ = named_by(call)
        find(call.region, name)
        told = [_told(call.region, key, settings) for key, settings in _all(call.region).items() if key[0] == name]
        return answer(call, {"FunctionEventInvokeConfigs": told})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteFunctionEventInvokeConfig.

        https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionEventInvokeConfig.html
        """
        _existing(call)
        del _all(call.region)[_key(call)]
        return answer(call)

    def _change(self, call: Call, key: tuple[str, str], settings: EventSettings) -> Response:
        params = call.params
        names = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
        if all(params.get(name) is None for name in names):
            message = "You must specify at least one of error handling or destination setting."
            raise AwsError("InvalidParameterValueException", message, members={"Type": "User"})
        _check(params, qualified(function_arn(call.region, key[0]), key[1]), find(call.region, *key).role)
        destinations = params.get("DestinationConfig", {})
        told = {
            "retries": params.get("MaximumRetryAttempts"),
            "age": params.get("MaximumEventAgeInSeconds"),
            "on_success": destinations.get("OnSuccess", {}).get("Destination"),
            "on_failure": destinations.get("OnFailure", {}).get("Destination"),
        }
        changes = {name: value for name, value in told.items() if value is not None}
        changed = replace(settings, modified_at=self._clock.time(), **changes)
        _all(call.region)[key] = changed
        return answer(call, _told(call.region, key, changed))


def _all(region: str) -> dict[tuple[str, str], EventSettings]:
    return shelf(backend_of(region), "event_settings")


def _key(call: Call) -> tuple[str, str]:
    name, qualifier = named_by(call)
    find(call.region, name, qualifier)
    return name, qualifier or LATEST


def _existing(call: Call) -> EventSettings:
    key = _key(call)
    settings = _all(call.region).get(key)
    if settings is None:
        arn = qualified(function_arn(call.region, key[0]), key[1])
        message = f"The function {arn} doesn't have an EventInvokeConfig"
        raise AwsError("ResourceNotFoundException", message, members={"Type": "User"})
    return settings


def _told(region: str, key: tuple[str, str], settings: EventSettings) -> dict[str, Any]:
    name, qualifier = key
    destinations = {"OnSuccess": settings.on_success, "OnFailure": settings.on_failure}
    return {
        "FunctionArn": qualified(function_arn(region, name), qualifier),
        "LastModified": settings.modified_at,
        "MaximumRetryAttempts": settings.retries,
        "MaximumEventAgeInSeconds": settings.age,
        "DestinationConfig": {kind: {"Destination": arn} if arn else {} for kind, arn in destinations.items()},
    }


def _check(params: dict[str, Any], arn: str, role_arn: str) -> None:
    """Refuses what is beyond the limits, a function that tells itself, and what its role may not tell.

    Raises:
        AwsError: it is.
    """
    for name, least, most in (("MaximumRetryAttempts", 0, 2), ("MaximumEventAgeInSeconds", 60, DEFAULT_AGE)):
        value = params.get(name)
        if value is not None and not least <= value <= most:
            bound = f"greater than or equal to {least}" if value < least else f"less than or equal to {most}"
            member = name[0].lower() + name[1:]
            message = f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
            raise AwsError("ValidationException", f"{message}Member must have value {bound}")
    for destination in params.get("DestinationConfig", {}).values():
        if not (told := destination.get("Destination")):
            continue
        if told in (arn, arn.removesuffix(f":{LATEST}")):
            message = "You can't specify the function as a destination for itself."
            raise AwsError("InvalidParameterValueException", message, members={"Type": "User"})
        try:
            check_destination(told, role_arn, split_name(arn)[0])
        except DeliveryError as error:
            raise AwsError("InvalidParameterValueException", str(error), members={"Type": "User"}) from None
