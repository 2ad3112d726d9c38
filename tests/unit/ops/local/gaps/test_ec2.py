from __future__ import annotations

from typing import Any


def test_changing_an_attribute_of_an_instance_leaves_its_security_groups(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    groups = [ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("a", "b")]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=groups[:1])
    instance = run["Instances"][0]["InstanceId"]

    def groups_now() -> list[str]:
        [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        return [group["GroupId"] for group in reservation["Instances"][0]["SecurityGroups"]]

    ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    assert groups_now() == groups[:1]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=groups[1:])
    assert groups_now() == groups[1:]
