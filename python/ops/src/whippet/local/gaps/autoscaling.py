"""What moto does otherwise than Amazon EC2 Auto Scaling."""

from __future__ import annotations

from moto.autoscaling.models import autoscaling_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def put_scaling_policy(call: Call, forward: Forward) -> Response:
    """PutScalingPolicy drops whether the policy is enabled, and tells of an empty predictive scaling: both are a drift.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutScalingPolicy.html
    """
    response = forward(call)
    if response.status_code == 200:
        policies = autoscaling_backends[ACCOUNT][call.region].policies.values()
        group, name = call.params["AutoScalingGroupName"], call.params["PolicyName"]
        policy = next(one for one in policies if (one.auto_scaling_group_name, one.name) == (group, name))
        setattr(policy, "enabled", call.params.get("Enabled", True))  # noqa: B010 - moto writes what it finds
        # moto leaves out of its answer what is None.
        policy.predictive_scaling_configuration = policy.predictive_scaling_configuration or None  # type: ignore[assignment]
    return response


HANDLERS: Handlers = {
    ("autoscaling", "PutScalingPolicy"): put_scaling_policy,
}
