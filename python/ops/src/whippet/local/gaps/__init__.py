"""What moto lacks or does otherwise than AWS, so that Terraform would hang, drift or fail: each function is one gap.

An operation that moto lacks is answered here; of one that moto answers wrongly, the answer or the record is mended.
What is more than a record, such as endpoints, functions and scaling, has a folder of its own.
"""

from __future__ import annotations

import json
from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call, json_answer
from whippet.local.gaps import ec2, s3, sagemaker, ssm
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def list_scaling_tags(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's ListTagsForResource, without which the provider tries until it gives up.

    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ListTagsForResource.html
    """
    return json_answer({"Tags": _scaling_tags(call)})


def tag_scaling_resource(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's TagResource."""
    _scaling_tags(call).update(call.params["Tags"])
    return json_answer({})


def untag_scaling_resource(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's UntagResource."""
    for key in call.params["TagKeys"]:
        _scaling_tags(call).pop(key, None)
    return json_answer({})


def register_scalable_target(call: Call, forward: Forward) -> Response:
    """RegisterScalableTarget drops the tags that it is given."""
    answer = forward(call)
    if answer.status_code == 200 and (tags := call.params.get("Tags")):
        _tags_by_arn(call)[json.loads(answer.get_data())["ScalableTargetARN"]] = dict(tags)
    return answer


def _scaling_tags(call: Call) -> dict[str, str]:
    return _tags_by_arn(call).setdefault(call.params["ResourceARN"], {})


def _tags_by_arn(call: Call) -> dict[str, dict[str, str]]:
    # On moto's own object, so that the tags go when moto is reset.
    backend: Any = applicationautoscaling_backends[ACCOUNT][call.region]
    tags: dict[str, dict[str, str]] = backend.__dict__.setdefault("tags_by_arn", {})
    return tags


HANDLERS: Handlers = {
    ("application-autoscaling", "ListTagsForResource"): list_scaling_tags,
    ("application-autoscaling", "RegisterScalableTarget"): register_scalable_target,
    ("application-autoscaling", "TagResource"): tag_scaling_resource,
    ("application-autoscaling", "UntagResource"): untag_scaling_resource,
    **ec2.HANDLERS,
    **s3.HANDLERS,
    **sagemaker.HANDLERS,
    **ssm.HANDLERS,
}
