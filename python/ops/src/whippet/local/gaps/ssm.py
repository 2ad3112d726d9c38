"""What AWS Systems Manager has and moto has not: the public parameters that name the Deep Learning AMIs.

https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

from __future__ import annotations

import json

from werkzeug.wrappers import Response

from whippet.local.calls import Call, json_answer
from whippet.local.gaps import deep_learning_images
from whippet.local.services import Forward, Handlers


def with_deep_learning_parameters(call: Call, forward: Forward) -> Response:
    """GetParameter, GetParameters and GetParametersByPath know none of them; here they do once one is asked for.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-finding-public-parameters.html
    """
    asked = [call.params.get("Name"), call.params.get("Path"), *call.params.get("Names", ())]
    if any(str(name).startswith("/aws/service/deeplearning") for name in asked):
        deep_learning_images.publish(call.region)
    return forward(call)


def describe_parameters(call: Call, forward: Forward) -> Response:
    """DescribeParameters tells of the public parameters that somebody has asked for; AWS tells of the account's own.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html
    """
    response = forward(call)
    if response.status_code != 200:
        return response
    described = json.loads(response.get_data())
    own = [one for one in described["Parameters"] if not one["Name"].startswith("/aws/")]
    return json_answer({**described, "Parameters": own})


HANDLERS: Handlers = {
    ("ssm", "DescribeParameters"): describe_parameters,
    ("ssm", "GetParameter"): with_deep_learning_parameters,
    ("ssm", "GetParameters"): with_deep_learning_parameters,
    ("ssm", "GetParametersByPath"): with_deep_learning_parameters,
}
