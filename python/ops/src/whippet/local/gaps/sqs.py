"""What moto does otherwise than Amazon SQS."""

from __future__ import annotations

import json

from werkzeug.wrappers import Response

from whippet.local.calls import Call, answer
from whippet.local.services import Forward, Handlers


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


HANDLERS: Handlers = {("sqs", "GetQueueAttributes"): get_queue_attributes}
