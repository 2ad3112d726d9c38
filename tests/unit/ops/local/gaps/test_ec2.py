from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def image(local_aws: Any) -> str:
    named = {"Name": "name", "Values": ["Deep Learning Base AMI with Single CUDA (Ubuntu 22.04) *"]}
    images = local_aws.client("ec2").describe_images(Owners=["amazon"], Filters=[named])["Images"]
    identifier: str = images[0]["ImageId"]
    return identifier


@pytest.fixture
def run(local_aws: Any, image: str) -> Any:
    """Starts one instance; its description."""
    ec2 = local_aws.client("ec2")

    def run(**options: Any) -> dict[str, Any]:
        started = ec2.run_instances(**{"ImageId": image, "MinCount": 1, "MaxCount": 1, **options})
        return described(ec2, started["Instances"][0]["InstanceId"])

    return run


def described(ec2: Any, instance: str) -> dict[str, Any]:
    description: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return description


def groups_of(instance: dict[str, Any]) -> list[str]:
    return [group["GroupId"] for group in instance["SecurityGroups"]]


def volume_of(ec2: Any, instance: dict[str, Any]) -> dict[str, Any]:
    volume: dict[str, Any] = ec2.describe_volumes(
        VolumeIds=[instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]],
    )["Volumes"][0]
    return volume


def test_changing_an_attribute_of_an_instance_leaves_its_security_groups(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    groups = [ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("a", "b")]
    instance = run(SecurityGroupIds=groups[:1])["InstanceId"]
    ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    assert groups_of(described(ec2, instance)) == groups[:1]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=groups[1:])
    assert groups_of(described(ec2, instance)) == groups[1:]


def test_the_groups_of_an_instance_follow_those_of_its_interface(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    groups = [ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("a", "b")]
    instance = run(SecurityGroupIds=groups[:1])
    interface = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=groups)
    assert groups_of(described(ec2, instance["InstanceId"])) == groups


@pytest.mark.parametrize(
    "change", [{"UserData": {"Value": b"echo second"}}, {"Attribute": "userData", "Value": "ZWNobyBzZWNvbmQ="}]
)
def test_user_data_is_changed_once_an_instance_is_stopped(local_aws: Any, run: Any, change: dict[str, Any]) -> None:
    ec2 = local_aws.client("ec2")
    instance = run(UserData="echo first")["InstanceId"]
    with pytest.raises(ClientError) as refused:
        ec2.modify_instance_attribute(InstanceId=instance, **change)
    assert refused.value.response["Error"]["Code"] == "IncorrectInstanceState"
    ec2.stop_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, **change)
    told = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    assert told == "ZWNobyBzZWNvbmQ="


def test_detailed_monitoring_is_switched_on_and_off(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    instance = run()["InstanceId"]
    [switched] = ec2.monitor_instances(InstanceIds=[instance])["InstanceMonitorings"]
    assert switched["Monitoring"]["State"] == "pending"
    assert described(ec2, instance)["Monitoring"]["State"] == "enabled"
    ec2.unmonitor_instances(InstanceIds=[instance])
    assert described(ec2, instance)["Monitoring"]["State"] == "disabled"


def test_a_protected_instance_is_not_terminated(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    instance = run(DisableApiTermination=True)["InstanceId"]
    with pytest.raises(ClientError) as refused:
        ec2.terminate_instances(InstanceIds=[instance])
    assert refused.value.response["Error"]["Code"] == "OperationNotPermitted"


@pytest.mark.parametrize(
    ("asked", "iops", "throughput"), [({}, 3000, 125), ({"Iops": 4000, "Throughput": 200}, 4000, 200)]
)
def test_a_volume_of_type_gp3_does_what_was_asked_for(
    local_aws: Any, run: Any, asked: dict[str, int], iops: int, throughput: int
) -> None:
    ebs = {"VolumeSize": 100, "VolumeType": "gp3", **asked}
    instance = run(BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": ebs}])
    volume = volume_of(local_aws.client("ec2"), instance)
    assert (volume["Size"], volume["Iops"], volume["Throughput"]) == (100, iops, throughput)


def test_a_spot_instance_has_a_request_which_its_end_closes(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    options = {"MaxPrice": "0.5", "SpotInstanceType": "one-time"}
    instance = run(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    assert instance["InstanceLifecycle"] == "spot"

    def request() -> dict[str, Any]:
        requests = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
        told: dict[str, Any] = requests["SpotInstanceRequests"][0]
        return told

    assert float(request()["SpotPrice"]) == 0.5
    assert (request()["Type"], request()["State"], request()["InstanceId"]) == (
        "one-time",
        "active",
        instance["InstanceId"],
    )
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert (request()["State"], request()["Status"]["Code"]) == ("closed", "instance-terminated-by-user")


def test_an_interface_goes_with_its_instance_unless_it_was_there_before(local_aws: Any, run: Any) -> None:
    ec2 = local_aws.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    attached = run(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": interface}])
    instances = [attached["InstanceId"], run(SubnetId=subnet)["InstanceId"], run()["InstanceId"]]
    ec2.terminate_instances(InstanceIds=instances)
    left = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert [one["NetworkInterfaceId"] for one in left] == [interface]


def test_the_interface_of_a_nat_gateway_goes_with_it(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    ec2.release_address(AllocationId=address)


def test_an_instance_takes_all_of_its_launch_template_that_it_is_not_given(
    local_aws: Any, run: Any, image: str
) -> None:
    ec2 = local_aws.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_launch_template(
        LaunchTemplateName="training",
        LaunchTemplateData={
            "ImageId": image,
            "InstanceType": "g4dn.xlarge",
            "UserData": "ZWNobyBmaXJzdA==",
            "InstanceMarketOptions": {"MarketType": "spot"},
            "NetworkInterfaces": [{"SubnetId": subnet, "AssociatePublicIpAddress": False}],
            "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 90, "VolumeType": "gp3"}}],
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        },
    )
    instance = run(LaunchTemplate={"LaunchTemplateName": "training"}, InstanceType="g4dn.2xlarge")
    assert (instance["InstanceType"], instance["SubnetId"]) == ("g4dn.2xlarge", subnet)
    assert (instance["InstanceLifecycle"], instance["MetadataOptions"]["HttpTokens"]) == ("spot", "required")
    assert volume_of(ec2, instance)["Size"] == 90
    told = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert told["UserData"]["Value"] == "ZWNobyBmaXJzdA=="


def test_a_launch_template_keeps_its_own_tags_apart_from_those_of_what_it_launches(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    template = ec2.create_launch_template(
        LaunchTemplateName="training",
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "a", "Value": "1"}]}],
        LaunchTemplateData={"InstanceType": "t3.medium"},
    )["LaunchTemplate"]["LaunchTemplateId"]
    ec2.create_tags(Resources=[template], Tags=[{"Key": "a", "Value": "2"}])
    [described_template] = ec2.describe_launch_templates()["LaunchTemplates"]
    assert described_template["Tags"] == [{"Key": "a", "Value": "2"}]
    [version] = ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    assert "TagSpecifications" not in version["LaunchTemplateData"]


def test_the_routes_of_a_gateway_endpoint_can_be_changed(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    service = {"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "VpcEndpointType": "Gateway"}
    endpoint = ec2.create_vpc_endpoint(**service)["VpcEndpoint"]["VpcEndpointId"]

    def targets() -> list[str]:
        [described_table] = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return [route.get("GatewayId") for route in described_table["Routes"]]

    ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, AddRouteTableIds=[table])
    assert endpoint in targets()
    ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, RemoveRouteTableIds=[table])
    assert endpoint not in targets()


def test_a_gateway_endpoint_can_be_deleted_after_its_route_table(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.s3",
        VpcEndpointType="Gateway",
        RouteTableIds=[table],
    )["VpcEndpoint"]["VpcEndpointId"]
    ec2.delete_route_table(RouteTableId=table)
    assert ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])["Unsuccessful"] == []


def test_the_private_name_of_an_interface_endpoint_can_be_changed(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.sagemaker.runtime",
        VpcEndpointType="Interface",
        SubnetIds=[subnet],
        PrivateDnsEnabled=False,
    )["VpcEndpoint"]["VpcEndpointId"]
    ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, PrivateDnsEnabled=True)
    [described_endpoint] = ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"]
    assert described_endpoint["PrivateDnsEnabled"] is True


def test_the_rule_for_another_group_keeps_its_description(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    first, second = (ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in "ab")
    pair = {"GroupId": second, "Description": "HTTPS of the instances"}
    ec2.authorize_security_group_ingress(
        GroupId=first,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [pair]}],
    )
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [first]}])["SecurityGroupRules"]
    assert "HTTPS of the instances" in [rule.get("Description") for rule in rules]


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("modify_instance_attribute", {"InstanceId": "i-1", "EbsOptimized": {"Value": True}}, "InvalidInstanceID"),
        ("monitor_instances", {"InstanceIds": ["i-1"]}, "InvalidInstanceID"),
        ("delete_nat_gateway", {"NatGatewayId": "nat-1"}, "NatGatewayNotFound"),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "LaunchTemplate": {"LaunchTemplateName": "none"}},
            "InvalidLaunchTemplateName",
        ),
    ],
)
def test_what_is_not_there_is_not_found(local_aws: Any, operation: str, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(local_aws.client("ec2"), operation)(**arguments)
    assert refused.value.response["Error"]["Code"].startswith(code)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Groups": ["sg-1"]}, "InvalidGroup.NotFound"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/none", "Ebs": {"DeleteOnTermination": True}}]},
            "InvalidInstanceAttributeValue",
        ),
    ],
)
def test_an_instance_is_not_given_what_is_not_there(
    local_aws: Any, run: Any, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        local_aws.client("ec2").modify_instance_attribute(InstanceId=run()["InstanceId"], **change)
    assert refused.value.response["Error"]["Code"] == code


def test_a_group_launches_what_a_later_version_of_its_template_says(local_aws: Any) -> None:
    ec2, groups = local_aws.client("ec2"), local_aws.client("autoscaling")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    data = {"InstanceType": "t3.large", "ImageId": image}
    ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)
    script = b64encode(b"#!/bin/bash").decode()
    ec2.create_launch_template_version(LaunchTemplateName="template", LaunchTemplateData={**data, "UserData": script})
    groups.create_auto_scaling_group(
        AutoScalingGroupName="group",
        LaunchTemplate={"LaunchTemplateName": "template", "Version": "2"},
        AvailabilityZones=["us-east-1a"],
        MinSize=1,
        MaxSize=1,
    )
    [group] = groups.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])["AutoScalingGroups"]
    [instance] = group["Instances"]
    told = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert told["UserData"]["Value"] == script
