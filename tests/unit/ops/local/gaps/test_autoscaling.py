from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("enabled", [None, True, False])
def test_a_policy_says_whether_it_is_enabled(local_aws: Any, enabled: bool | None) -> None:
    client = local_aws.client("autoscaling")
    template = {"LaunchTemplateName": "template", "LaunchTemplateData": {"InstanceType": "t3.large"}}
    local_aws.client("ec2").create_launch_template(**template)
    client.create_auto_scaling_group(
        AutoScalingGroupName="group",
        LaunchTemplate={"LaunchTemplateName": "template"},
        AvailabilityZones=["us-east-1a"],
        MinSize=0,
        MaxSize=1,
    )
    given = {} if enabled is None else {"Enabled": enabled}
    client.put_scaling_policy(
        AutoScalingGroupName="group",
        PolicyName="stop",
        AdjustmentType="ExactCapacity",
        ScalingAdjustment=0,
        **given,
    )
    [policy] = client.describe_policies(AutoScalingGroupName="group")["ScalingPolicies"]
    assert policy["Enabled"] is (enabled is not False)
    assert "PredictiveScalingConfiguration" not in policy
