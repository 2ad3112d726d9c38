"""What moto does otherwise than Amazon EC2."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call
from whippet.local.gaps import deep_learning_images
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def with_deep_learning_images(call: Call, forward: Forward) -> Response:
    """The Deep Learning AMIs themselves, for a caller that has kept an id."""
    deep_learning_images.publish(call.region)
    return forward(call)


def modify_instance_attribute(call: Call, forward: Forward) -> Response:
    """ModifyInstanceAttribute takes away the security groups, whichever other attribute it is to change.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
    """
    instance: Any = ec2_backends[ACCOUNT][call.region].get_instance(call.params["InstanceId"])
    groups = instance.security_groups
    answer = forward(call)
    if "Groups" not in call.params:
        instance.security_groups = groups
    return answer


HANDLERS: Handlers = {
    ("ec2", "DescribeImages"): with_deep_learning_images,
    ("ec2", "ModifyInstanceAttribute"): modify_instance_attribute,
    ("ec2", "RunInstances"): with_deep_learning_images,
}
