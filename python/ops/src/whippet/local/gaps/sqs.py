"""What moto does otherwise than Amazon SQS."""

from __future__ import annotations

import json

from moto.sqs.models import sqs_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def get_queue_attributes(call: Call, forward: Forward) -> Response:
    """GetQueueAttributes writes blanks into a redrive policy, which is a change to who compares texts.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """
    response = forward(call)
    if response.status_code != 200 or call.protocol != "json":
        return response
    attributes = json.loads(response.get_data()).get("Attributes", {})
    if "RedrivePolicy" not in attributes:
        return response
    attributes["RedrivePolicy"] = json.dumps(json.loads(attributes["RedrivePolicy"]), separators=(",", ":"))
    return answer(call, {"Attributes": attributes})


def set_queue_attributes(call: Call, forward: Forward) -> Response:
    """SetQueueAttributes drops the queue's policy where it sets other attributes only.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
    """
    queues = sqs_backends[ACCOUNT][call.region].queues
    queue = queues.get(call.params["QueueUrl"].rstrip("/").rsplit("/", 1)[-1])
    policy = queue.policy if queue is not None else None
    response = forward(call)
    if queue is not None and "Policy" not in call.params.get("Attributes", {}):
        queue.policy = policy
    return response


HANDLERS: Handlers = {
    ("sqs", "GetQueueAttributes"): get_queue_attributes,
    ("sqs", "SetQueueAttributes"): set_queue_attributes,
}
