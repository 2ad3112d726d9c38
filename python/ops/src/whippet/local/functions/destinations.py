"""Tells queues, topics, buckets, buses and functions what became of events, as the function's role may.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from moto.events.models import events_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.access.resource_policies import parse_arn, policy_of
from whippet.local.functions.environments import Outcome
from whippet.local.functions.records import LATEST, Function, Target, qualified, split_name
from whippet.local.settings import ACCOUNT
from whippet.local.state import State

#: What the role must be allowed.
ACTIONS = {
    "events": "events:PutEvents",
    "lambda": "lambda:InvokeFunction",
    "s3": "s3:PutObject",
    "sns": "sns:Publish",
    "sqs": "sqs:SendMessage",
}

#: Takes region, name, qualifier and JSON for another function.
SendEvent = Callable[[str, str, str, bytes], None]


class DeliveryError(Exception):
    """A destination could not be told; the text says why."""


def invocation_record(
    target: Target, request_id: str, payload: bytes, condition: str, runs: int, outcome: Outcome | None, now: float
) -> dict[str, Any]:
    """What a destination is told.

    Args:
        target: what the event was sent to.
        request_id: its id.
        payload: the event, JSON.
        condition: Success, RetriesExhausted, EventAgeExceeded or ZeroReservedConcurrency.
        runs: how often the function was tried.
        outcome: what became of the last try; None where there was none.
        now: seconds since 1970.
    """
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": _iso(now),
        "requestContext": {
            "requestId": request_id,
            "functionArn": qualified(target.function.arn, target.qualifier or LATEST),
            "condition": condition,
            "approximateInvokeCount": runs,
        },
        "requestPayload": json.loads(payload),
    }
    if outcome is not None:
        record["responseContext"] = {"statusCode": 200, "executedVersion": target.function.version}
        if outcome.is_error:
            record["responseContext"]["functionError"] = "Unhandled"
        record["responsePayload"] = _parsed(outcome.payload)
    return record


def dead_letter_attributes(request_id: str, condition: str, outcome: Outcome | None) -> dict[str, tuple[str, str]]:
    """Types and values of the attributes of a message to a dead-letter queue.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq
    """
    code, message = "429", "Rate Exceeded."
    if condition == "ZeroReservedConcurrency":
        message = "Function not invoked. Function is configured with zero reserved concurrent executions"
    elif outcome is not None:
        error = _parsed(outcome.payload)
        code, message = "200", str(error.get("errorMessage", "")) if isinstance(error, dict) else ""
    return {
        "RequestID": ("String", request_id),
        "ErrorCode": ("Number", code),
        "ErrorMessage": ("String", message[:1024] or "Unknown"),
    }


def check_destination(arn: str, role_arn: str, name: str) -> None:
    """Checks that a destination can be told.

    Args:
        arn: of the destination.
        role_arn: whose permissions decide.
        name: of the function that is told of.

    Raises:
        DeliveryError: it cannot; in the words in which Lambda refuses it as a destination.
    """
    service = parse_arn(arn).service
    if service not in ACTIONS or arn.endswith(".fifo"):
        raise DeliveryError(f"The destination ARN {arn} is invalid.")
    need = Need(ACTIONS[service], f"{arn}/aws/lambda/async/{name}/" if service == "s3" else arn)
    if role_principal(role_arn).judge(need, {}, policy_of(arn)).decision is not Decision.ALLOWED:
        action = need.action.partition(":")[2]
        raise DeliveryError(f"The function's execution role does not have permissions to call {action} on {arn}")


class Destinations:
    """Delivers.

    Args:
        send_event: takes an event for another function.
        state: told of what has changed.
    """

    def __init__(self, send_event: SendEvent, state: State) -> None:
        self._send_event = send_event
        self._state = state

    def tell(self, arn: str, function: Function, record: dict[str, Any]) -> None:
        """Delivers an invocation record.

        Raises:
            DeliveryError: it cannot be delivered.
        """
        where = parse_arn(arn)
        check_destination(arn, function.role_arn, function.name)
        body = json.dumps(record)
        with self._state.watching(), _delivering():
            if where.service == "s3":
                self._put_object(where.resource, function.name, record["timestamp"], body)
            elif where.service == "events":
                self._put_event(arn, record, body)
            elif where.service == "lambda":
                self._send_event(where.region, *split_name(arn), body.encode())
            else:
                _send(where.service, where.region, arn, body, {})

    def tell_dead_letter(
        self, arn: str, function: Function, payload: bytes, attributes: Mapping[str, tuple[str, str]]
    ) -> None:
        """Delivers an event itself.

        Raises:
            DeliveryError: it cannot be delivered.
        """
        where = parse_arn(arn)
        check_destination(arn, function.role_arn, function.name)
        with self._state.watching(), _delivering():
            _send(where.service, where.region, arn, payload.decode(), attributes)

    def _put_object(self, bucket: str, name: str, timestamp: str, body: str) -> None:
        day, time = timestamp[:10], timestamp[11:19].replace(":", ".")
        key = f"aws/lambda/async/{name}/{day.replace('-', '/')}/{day}T{time}-{uuid.uuid4()}"
        s3_backends[ACCOUNT]["aws"].put_object(bucket, key, body.encode())

    def _put_event(self, arn: str, record: dict[str, Any], body: str) -> None:
        kind = "Success" if record["requestContext"]["condition"] == "Success" else "Failure"
        entry = {
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {kind}",
            "Resources": [arn, record["requestContext"]["functionArn"]],
            "Detail": body,
            "EventBusName": arn.rpartition("/")[2],
        }
        [told] = events_backends[ACCOUNT][parse_arn(arn).region].put_events([entry])
        if "EventId" not in told:
            raise DeliveryError(str(told.get("ErrorMessage")))


@contextmanager
def _delivering() -> Iterator[None]:
    """Turns what moto raises, as where a queue does not exist, into a DeliveryError."""
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        raise DeliveryError(str(error)) from error


def _send(service: str, region: str, arn: str, body: str, attributes: Mapping[str, tuple[str, str]]) -> None:
    if service == "sqs":
        told = {name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()}
        sqs_backends[ACCOUNT][region].send_message(arn.rpartition(":")[2], body, message_attributes=told)
    else:
        told = {name: {"Type": kind, "Value": value} for name, (kind, value) in attributes.items()}
        sns_backends[ACCOUNT][region].publish(body, arn=arn, message_attributes=told)


def _parsed(payload: bytes) -> Any:
    """A payload as JSON; what is none, as text."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")


def _iso(seconds: float) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
