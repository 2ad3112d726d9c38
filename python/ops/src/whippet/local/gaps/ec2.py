"""What moto does otherwise than Amazon EC2, or not at all."""

from __future__ import annotations

import copy
import re
from typing import Any

from moto.core.types import Base64EncodedString
from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.utils import generate_route_id
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.gaps import deep_learning_images, spot
from whippet.local.gaps.parameters import with_params
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: Where the answer of RunInstances names what has been started.
RESERVATION = re.compile("<reservationId>(.+?)</reservationId>")
#: https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html#gp3-ebs-volume-type
GP3_IOPS, GP3_THROUGHPUT = 3000, 125


def describe_images(call: Call, forward: Forward) -> Response:
    """DescribeImages has other AMIs than those that AWS publishes for deep learning.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
    """
    deep_learning_images.publish(call.region)
    return forward(call)


def run_instances(call: Call, forward: Forward) -> Response:
    """RunInstances takes little of a launch template, and forgets much of what it takes: see `_complete`.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
    """
    deep_learning_images.publish(call.region)
    params = dict(call.params)
    if template := params.get("LaunchTemplate"):
        # What the request says goes before what the template says.
        params = _template_params(call, template) | params
    response = forward(with_params(call, params))
    if reservation := RESERVATION.search(response.get_data(as_text=True)):
        for instance in _backend(call).reservations[reservation[1]].instances:
            _complete(_backend(call), instance, params)
    return response


def _complete(backend: Any, instance: Any, params: dict[str, Any]) -> None:
    """Gives a new instance what moto forgets: its market, what its volumes can do, and what must end with it or not.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-eni.html
    """
    instance.disable_api_termination = bool(params.get("DisableApiTermination"))
    outlasting = {
        interface["DeviceIndex"]
        for interface in params.get("NetworkInterfaces", ())
        if not interface.get("DeleteOnTermination", "NetworkInterfaceId" not in interface)
    }
    for index, interface in instance.nics.items():
        interface.delete_on_termination = index not in outlasting
    if (market := params.get("InstanceMarketOptions", {})).get("MarketType") == "spot":
        spot.open_request(backend, instance, market.get("SpotOptions", {}))
    asked = {mapping.get("DeviceName"): mapping.get("Ebs", {}) for mapping in params.get("BlockDeviceMappings", ())}
    for device, block in instance.block_device_mapping.items():
        volume, wanted = backend.get_volume(block.volume_id), asked.get(device, {})
        if volume.volume_type == "gp3":
            volume.iops = wanted.get("Iops", GP3_IOPS)
            volume.throughput = wanted.get("Throughput", GP3_THROUGHPUT)
        elif "Iops" in wanted:
            volume.iops = wanted["Iops"]


def terminate_instances(call: Call, forward: Forward) -> Response:
    """TerminateInstances leaves the request of a Spot Instance active.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
    """
    response = forward(call)
    if response.status_code == 200:
        for instance in call.params["InstanceIds"]:
            spot.close_request(_backend(call), _backend(call).get_instance(instance))
    return response


def _template_params(call: Call, template: dict[str, Any]) -> dict[str, Any]:
    """What a launch template says, as parameters of RunInstances."""
    params: dict[str, Any] = copy.deepcopy(_backend(call)._get_template_from_args(template).data)
    if isinstance(user_data := params.pop("UserData", None), Base64EncodedString):
        user_data = user_data.as_bytes().decode()
    if user_data:
        params["UserData"] = user_data
    for index, interface in enumerate(params.get("NetworkInterfaces", ())):
        interface.setdefault("DeviceIndex", index)
    return params


#: The parameters of ModifyInstanceAttribute that have one value, and moto's names of what they change.
INSTANCE_ATTRIBUTES = {
    "DisableApiStop": "disable_api_stop",
    "DisableApiTermination": "disable_api_termination",
    "EbsOptimized": "ebs_optimized",
    "InstanceInitiatedShutdownBehavior": "instance_initiated_shutdown_behavior",
    "InstanceType": "instance_type",
    "Kernel": "kernel",
    "Ramdisk": "ramdisk",
    "SourceDestCheck": "source_dest_check",
    "SriovNetSupport": "sriov_net_support",
    "UserData": "user_data",
}
#: Those that only a stopped instance can change.
STOPPED_ATTRIBUTES = {"EbsOptimized", "InstanceType", "Kernel", "Ramdisk", "SriovNetSupport", "UserData"}


def modify_instance_attribute(call: Call, forward: Forward) -> Response:
    """ModifyInstanceAttribute cannot decode user data, and takes away the security groups whatever it is to change.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
    """
    params = dict(call.params)
    instance: Any = _backend(call).get_instance(params["InstanceId"])
    if "Attribute" in params:  # the older way to say the same
        name = params["Attribute"]
        params[name[0].upper() + name[1:]] = {"Value": params.get("Value")}
    changed = [name for name in INSTANCE_ATTRIBUTES if name in params]
    if instance.state != "stopped" and STOPPED_ATTRIBUTES.intersection(changed):
        raise AwsError("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
    for name in changed:
        value = params[name]["Value"]
        if isinstance(value, bytes):
            value = Base64EncodedString.from_raw_bytes(value)
        setattr(instance, INSTANCE_ATTRIBUTES[name], value)
    for mapping in params.get("BlockDeviceMappings", ()):
        device = instance.block_device_mapping.get(mapping["DeviceName"])
        if device is None:
            message = f"No device is currently mapped at {mapping['DeviceName']}"
            raise AwsError("InvalidInstanceAttributeValue", message)
        device.delete_on_termination = mapping["Ebs"]["DeleteOnTermination"]
    if groups := params.get("Groups"):
        instance.security_groups = [_security_group(call, group) for group in groups]
        instance.nics[0]._group_set = list(instance.security_groups)
    return answer(call)


def _security_group(call: Call, identifier: str) -> Any:
    group = _backend(call).get_security_group_from_id(identifier)
    if group is None:
        raise AwsError("InvalidGroup.NotFound", f"The security group '{identifier}' does not exist")
    return group


def monitor_instances(call: Call, forward: Forward) -> Response:
    """MonitorInstances is not implemented.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_MonitorInstances.html
    """
    return _set_monitoring(call, "enabled", "pending")


def unmonitor_instances(call: Call, forward: Forward) -> Response:
    """UnmonitorInstances is not implemented.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_UnmonitorInstances.html
    """
    return _set_monitoring(call, "disabled", "disabling")


def _set_monitoring(call: Call, state: str, transition: str) -> Response:
    instances = [_backend(call).get_instance(instance) for instance in call.params["InstanceIds"]]
    for instance in instances:
        instance.monitoring_state = state
    monitorings = [{"InstanceId": one.id, "Monitoring": {"State": transition}} for one in instances]
    return answer(call, {"InstanceMonitorings": monitorings})


def create_launch_template(call: Call, forward: Forward) -> Response:
    """CreateLaunchTemplate takes the template's own tags for tags of what it launches.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html
    """
    response = forward(call)
    if response.status_code == 200:
        data = _backend(call).get_launch_template_by_name(call.params["LaunchTemplateName"]).versions[0].data
        launched = call.params["LaunchTemplateData"].get("TagSpecifications")
        data.pop("TagSpecifications", None)
        if launched:
            data["TagSpecifications"] = launched
    return response


def create_launch_template_version(call: Call, forward: Forward) -> Response:
    """CreateLaunchTemplateVersion keeps user data in a form that an Auto Scaling group cannot launch.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
    """
    response = forward(call)
    if response.status_code == 200:
        for template in _backend(call).launch_templates.values():
            for version in template.versions:
                if isinstance(user_data := version.data.get("UserData"), str):
                    version.data["UserData"] = Base64EncodedString(user_data)
    return response


def describe_launch_templates(call: Call, forward: Forward) -> Response:
    """DescribeLaunchTemplates tells the tags of the day that a template was made.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplates.html
    """
    for template in _backend(call).launch_templates.values():
        template.tags = template.get_tags()
    return forward(call)


def modify_network_interface_attribute(call: Call, forward: Forward) -> Response:
    """ModifyNetworkInterfaceAttribute leaves the instance with the security groups that its interface had.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyNetworkInterfaceAttribute.html
    """
    response = forward(call)
    if response.status_code == 200 and "Groups" in call.params:
        interface = _backend(call).get_network_interface(call.params["NetworkInterfaceId"])
        if interface.instance is not None and interface.device_index == 0:
            interface.instance.security_groups = list(interface._group_set)
    return response


def modify_vpc_endpoint(call: Call, forward: Forward) -> Response:
    """ModifyVpcEndpoint drops the private DNS name, and does not change the routes of a gateway endpoint.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcEndpoint.html
    """
    response = forward(call)
    if response.status_code == 200:
        endpoint = _backend(call).vpc_end_points[call.params["VpcEndpointId"]]
        endpoint.private_dns_enabled = call.params.get("PrivateDnsEnabled", endpoint.private_dns_enabled)
        if prefix_list := endpoint.destination_prefix_list_id:
            for table in call.params.get("AddRouteTableIds", ()):
                _backend(call).create_route(table, None, gateway_id=endpoint.id, destination_prefix_list_id=prefix_list)
            for table in call.params.get("RemoveRouteTableIds", ()):
                routes = _backend(call).get_route_table(table)._routes
                routes.pop(generate_route_id(table, prefix_list), None)
    return response


def delete_vpc_endpoints(call: Call, forward: Forward) -> Response:
    """DeleteVpcEndpoints fails where a route table of a gateway endpoint was deleted before.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpcEndpoints.html
    """
    for name in call.params["VpcEndpointIds"]:
        if (endpoint := _backend(call).vpc_end_points.get(name)) and endpoint.destination_prefix_list_id:
            tables = _backend(call).route_tables
            endpoint.route_table_ids = [table for table in endpoint.route_table_ids if table in tables]
    return forward(call)


def delete_nat_gateway(call: Call, forward: Forward) -> Response:
    """DeleteNatGateway leaves the network interface, and fails where there is no such gateway.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNatGateway.html
    """
    name = call.params["NatGatewayId"]
    gateway = _backend(call).nat_gateways.get(name)
    if gateway is None:
        raise AwsError("NatGatewayNotFound", f"NatGateway {name} was not found")
    _backend(call).enis.pop(gateway._eni.id, None)
    return forward(call)


def _description_of_rule(rule: SecurityGroupRule) -> str | None:
    """A rule's description, which moto forgets where the rule names another group.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    """
    return rule.ip_range.get("Description", rule.source_group.get("Description"))


def _backend(call: Call) -> Any:
    return ec2_backends[ACCOUNT][call.region]


setattr(SecurityGroupRule, "description", property(_description_of_rule))  # noqa: B010


HANDLERS: Handlers = {
    ("ec2", "CreateLaunchTemplate"): create_launch_template,
    ("ec2", "CreateLaunchTemplateVersion"): create_launch_template_version,
    ("ec2", "DeleteNatGateway"): delete_nat_gateway,
    ("ec2", "DeleteVpcEndpoints"): delete_vpc_endpoints,
    ("ec2", "DescribeImages"): describe_images,
    ("ec2", "DescribeLaunchTemplates"): describe_launch_templates,
    ("ec2", "ModifyInstanceAttribute"): modify_instance_attribute,
    ("ec2", "ModifyNetworkInterfaceAttribute"): modify_network_interface_attribute,
    ("ec2", "ModifyVpcEndpoint"): modify_vpc_endpoint,
    ("ec2", "MonitorInstances"): monitor_instances,
    ("ec2", "RunInstances"): run_instances,
    ("ec2", "TerminateInstances"): terminate_instances,
    ("ec2", "UnmonitorInstances"): unmonitor_instances,
}
