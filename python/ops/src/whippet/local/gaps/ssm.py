"""What AWS Systems Manager has and moto has not: the public parameters that name the Deep Learning AMIs.

https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

from __future__ import annotations

from werkzeug.wrappers import Response

from whippet.local.calls import Call
from whippet.local.gaps import deep_learning_images
from whippet.local.services import Forward, Handlers


def with_deep_learning_parameters(call: Call, forward: Forward) -> Response:
    """The parameters are there as soon as somebody asks for one of them."""
    asked = [call.params.get("Name"), call.params.get("Path"), *call.params.get("Names", ())]
    if any(str(name).startswith("/aws/service/deeplearning") for name in asked):
        deep_learning_images.publish(call.region)
    return forward(call)


HANDLERS: Handlers = {
    ("ssm", operation): with_deep_learning_parameters
    for operation in ("GetParameter", "GetParameters", "GetParametersByPath")
}
