"""Which resources a call concerns, as IAM names them.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import jmespath  # type: ignore[import-untyped]
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends

from whippet.local.calls import Call
from whippet.local.functions.records import split_name
from whippet.local.scaling.targets import TargetKey, targets_of

#: Per service, where its calls name resources (as JMESPath finds them in the parameters) and those in an ARN. A call
#: that names none of them, or a service that is not here and gets no ARN, concerns `*`: only a policy for all resources
#: allows it, on AWS too.
NAMED: dict[str, dict[str, str]] = {
    "budgets": {"BudgetName || Budget.BudgetName || NewBudget.BudgetName": "budgets::{account}:budget/{name}"},
    "cloudwatch": {
        "AlarmName": "cloudwatch:{region}:{account}:alarm:{name}",
        "AlarmNames": "cloudwatch:{region}:{account}:alarm:{name}",
        "DashboardName": "cloudwatch::{account}:dashboard/{name}",
        "DashboardNames": "cloudwatch::{account}:dashboard/{name}",
    },
    "ec2": {
        "ImageId": "ec2:{region}::image/{name}",
        "InstanceId": "ec2:{region}:{account}:instance/{name}",
        "InstanceIds": "ec2:{region}:{account}:instance/{name}",
        "InternetGatewayId": "ec2:{region}:{account}:internet-gateway/{name}",
        "KeyName": "ec2:{region}:{account}:key-pair/{name}",
        "LaunchTemplate.LaunchTemplateId": "ec2:{region}:{account}:launch-template/{name}",
        "LaunchTemplateId": "ec2:{region}:{account}:launch-template/{name}",
        "NetworkInterfaceId": "ec2:{region}:{account}:network-interface/{name}",
        "NetworkInterfaces[].Groups[]": "ec2:{region}:{account}:security-group/{name}",
        "NetworkInterfaces[].SubnetId": "ec2:{region}:{account}:subnet/{name}",
        "RouteTableId": "ec2:{region}:{account}:route-table/{name}",
        "GroupId": "ec2:{region}:{account}:security-group/{name}",
        "SecurityGroupIds": "ec2:{region}:{account}:security-group/{name}",
        "SnapshotId": "ec2:{region}::snapshot/{name}",
        "SubnetId": "ec2:{region}:{account}:subnet/{name}",
        "VolumeId": "ec2:{region}:{account}:volume/{name}",
        "VpcId": "ec2:{region}:{account}:vpc/{name}",
    },
    "ecr": {"repositoryName": "ecr:{region}:{account}:repository/{name}"},
    "lambda": {
        "LayerName": "lambda:{region}:{account}:layer:{name}",
        "UUID": "lambda:{region}:{account}:event-source-mapping:{name}",
    },
    "sagemaker": {
        "EndpointConfigName": "sagemaker:{region}:{account}:endpoint-config/{name}",
        "EndpointName": "sagemaker:{region}:{account}:endpoint/{name}",
        "HyperParameterTuningJobName": "sagemaker:{region}:{account}:hyper-parameter-tuning-job/{name}",
        "InferenceComponentName": "sagemaker:{region}:{account}:inference-component/{name}",
        "ModelName": "sagemaker:{region}:{account}:model/{name}",
        "ModelPackageGroupName": "sagemaker:{region}:{account}:model-package-group/{name}",
        "ModelPackageName": "sagemaker:{region}:{account}:model-package/{name}",
        "NotebookInstanceLifecycleConfigName": "sagemaker:{region}:{account}:notebook-instance-lifecycle-config/{name}",
        "NotebookInstanceName": "sagemaker:{region}:{account}:notebook-instance/{name}",
        "ProcessingJobName": "sagemaker:{region}:{account}:processing-job/{name}",
        "TrainingJobName": "sagemaker:{region}:{account}:training-job/{name}",
        "TransformJobName": "sagemaker:{region}:{account}:transform-job/{name}",
    },
    "sns": {"Name": "sns:{region}:{account}:{name}"},
    "sqs": {"QueueName": "sqs:{region}:{account}:{name}"},
    "sts": {"Name": "sts::{account}:federated-user/{name}"},
    "xray": {"GroupName": "xray:{region}:{account}:group/{name}/*"},
}
NAMED["sagemaker-runtime"] = {name: NAMED["sagemaker"][name] for name in ("EndpointName", "InferenceComponentName")}

#: What an EC2 call makes, whose names nobody knows before.
EC2_MADE = {
    "CreateInternetGateway": ("internet-gateway",),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateRouteTable": ("route-table",),
    "CreateSecurityGroup": ("security-group",),
    "CreateSubnet": ("subnet",),
    "CreateVolume": ("volume",),
    "CreateVpc": ("vpc",),
    "RunInstances": ("instance", "network-interface", "volume"),
}

_MODEL_PACKAGES = {
    "ModelPackageGroupName": "sagemaker:{region}:{account}:model-package/{name}/*",
    "ModelPackageName": "sagemaker:{region}:{account}:model-package/{name}",
}

#: Calls that name other resources than those that IAM asks about, and what it asks about: often nothing.
EXCEPTIONS: dict[tuple[str, str], dict[str, str]] = {
    ("cloudwatch", "ListAlarmMuteRules"): {},
    ("ec2", "BundleInstance"): {},
    ("ec2", "ConfirmProductInstance"): {},
    ("ec2", "CreateRoute"): {"RouteTableId": NAMED["ec2"]["RouteTableId"]},
    ("ec2", "CreateTags"): {},
    ("ec2", "DeleteTags"): {},
    ("ec2", "GetIpamAddressHistory"): {},
    ("ec2", "GetSubnetCidrReservations"): {},
    ("ec2", "ModifyInstancePlacement"): {"InstanceId": NAMED["ec2"]["InstanceId"]},
    ("ec2", "ReplaceRoute"): {"RouteTableId": NAMED["ec2"]["RouteTableId"]},
    ("lambda", "ListLayerVersions"): {},
    ("sagemaker", "CreateEdgePackagingJob"): {},
    ("sagemaker", "CreateInferenceExperiment"): {},
    ("sagemaker", "CreateModelPackage"): _MODEL_PACKAGES,
    ("sagemaker", "CreateTransformJob"): {"TransformJobName": NAMED["sagemaker"]["TransformJobName"]},
    ("sagemaker", "GetScalingConfigurationRecommendation"): {},
    ("sagemaker", "ListDataQualityJobDefinitions"): {},
    ("sagemaker", "ListDevices"): {},
    ("sagemaker", "ListModelBiasJobDefinitions"): {},
    ("sagemaker", "ListModelExplainabilityJobDefinitions"): {},
    ("sagemaker", "ListModelPackages"): _MODEL_PACKAGES,
    ("sagemaker", "ListModelQualityJobDefinitions"): {},
    ("sagemaker", "ListMonitoringExecutions"): {},
    ("sagemaker", "ListMonitoringSchedules"): {},
    ("sns", "CreatePlatformApplication"): {},
    ("xray", "GetInsightSummaries"): {},
    ("xray", "GetServiceGraph"): {},
    ("xray", "GetTimeSeriesServiceStatistics"): {},
}

#: Calls to CloudWatch Logs that name log groups which IAM does not ask about.
_LOGS_WITHOUT_GROUP = {
    "CreateScheduledQuery",
    "DeleteIndexPolicy",
    "DescribeFieldIndexes",
    "DescribeIndexPolicies",
    "DescribeQueries",
    "ListSyslogConfigurations",
    "PutIndexPolicy",
    "PutQueryDefinition",
    "UpdateScheduledQuery",
}

#: Parameters that hold the ARN of what a call concerns.
ARNS = (
    "ResourceArn",
    "ResourceARN",
    "resourceArn",
    "resourceARN",
    "Resource",
    "TopicArn",
    "TargetArn",
    "EndpointArn",
    "StateMachineArn",
    "stateMachineArn",
    "SecretId",
)

#: Of the calls of IAM, which parameter names the resource, the first one that there is; and its kind.
_IAM_KINDS = (
    ("GroupName", "group"),
    ("InstanceProfileName", "instance-profile"),
    ("RoleName", "role"),
    ("UserName", "user"),
    ("PolicyName", "policy"),
)
_IAM_ARNS = ("PolicyArn", "PolicySourceArn", "OpenIDConnectProviderArn")


def resources_of(call: Call) -> list[str]:
    """The ARNs of what a call concerns; `*` where it names nothing that IAM asks about."""
    find = _FINDERS.get(call.service, _named)
    return list(dict.fromkeys(find(call))) or ["*"]


def named(call: Call, path: str) -> list[str]:
    """The texts that a JMESPath expression finds in the parameters."""
    found = call.params.get(path) if path.isidentifier() else _expression(path).search(call.params)
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str) and one]


@lru_cache(maxsize=512)
def _expression(path: str) -> Any:
    return jmespath.compile(path)


def _named(call: Call) -> Iterator[str]:
    templates = EXCEPTIONS.get((call.service, call.operation), NAMED.get(call.service, {}))
    for path, template in templates.items():
        for name in named(call, path):
            if name.startswith("arn:"):
                yield name
            else:
                yield "arn:aws:" + template.format(region=call.region, account=call.account, name=name)
    for path in ARNS:
        yield from (arn for arn in named(call, path) if arn.startswith("arn:"))


def _ec2(call: Call) -> Iterator[str]:
    if call.operation.startswith("Describe"):
        return  # nearly none of them has resource-level permissions
    yield from (f"arn:aws:ec2:{call.region}:{call.account}:{kind}/*" for kind in EC2_MADE.get(call.operation, ()))
    yield from _named(call)


def _iam(call: Call) -> Iterator[str]:
    backend = iam_backends[call.account]["aws"]
    for parameter, kind in _IAM_KINDS:
        if name := call.params.get(parameter):
            path = call.params.get("Path") or "/"
            yield _iam_path(backend, kind, name) or f"arn:aws:iam::{call.account}:{kind}{path}{name}"
            return
    if _is_about_caller(call) and (key := backend.access_keys.get(call.access_key)):
        yield str(backend.users[str(key.user_name)].arn)
    for parameter in _IAM_ARNS:
        yield from named(call, parameter)
    if service := call.params.get("AWSServiceName"):
        yield f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/*"


def _is_about_caller(call: Call) -> bool:
    """Whether a call concerns the user who makes it, as GetUser and ListAccessKeys do that name none.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html
    """
    model = call.operation_model
    shape = None if model is None else model.input_shape
    return shape is not None and "UserName" in shape.members and "UserName" not in shape.required_members


def _iam_path(backend: Any, kind: str, name: str) -> str:
    """The ARN of what exists, which its name alone does not tell."""
    known = {
        "group": backend.groups.values(),
        "instance-profile": backend.instance_profiles.values(),
        "role": backend.roles.values(),
        "user": backend.users.values(),
    }
    return next((str(one.arn) for one in list(known.get(kind, ())) if one.name == name), "")


def _kms(call: Call) -> Iterator[str]:
    prefix = f"arn:aws:kms:{call.region}:{call.account}:"
    if alias := call.params.get("AliasName"):
        yield f"{prefix}{alias}"
    if call.operation == "ListAliases":
        return
    for parameter in ("KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId"):
        for key in named(call, parameter):
            name = key.rpartition(":")[2]
            if name.startswith("alias/"):  # IAM asks about the key
                name = kms_backends[call.account][call.region].get_key_id_from_alias(name) or name
            yield f"{prefix}key/{name.removeprefix('key/')}"


def function_arn(call: Call, name: str, qualifier: str = "") -> str:
    """The ARN of a function that a call names in one of Lambda's ways: by name, part of an ARN or ARN.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestSyntax
    """
    bare, named_qualifier = split_name(name)
    version = named_qualifier or qualifier
    return f"arn:aws:lambda:{call.region}:{call.account}:function:{bare}{f':{version}' if version else ''}"


def _lambda(call: Call) -> Iterator[str]:
    name = call.labels.get("FunctionName") or call.params.get("FunctionName")
    if name and "EventSourceMapping" not in call.operation:
        yield function_arn(call, name, call.request.args.get("Qualifier", ""))
    else:
        yield from _named(call)


def log_stream_arn(region: str, account: str, group: str, stream: str = "") -> str:
    """The ARN that CloudWatch Logs checks; that of a group ends in an empty stream name."""
    return f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{stream}"


def _logs(call: Call) -> Iterator[str]:
    groups = named(call, "logGroupName || logGroupIdentifier || logGroupNames || logGroupIdentifiers")
    if call.operation == "DescribeLogGroups":
        groups = [""]  # so the error messages of AWS name it
    for group in () if call.operation in _LOGS_WITHOUT_GROUP else groups:
        name = group.removeprefix(log_stream_arn(call.region, call.account, "").removesuffix(":log-stream:"))
        yield log_stream_arn(call.region, call.account, name.removesuffix(":*"), call.params.get("logStreamName", ""))
    yield from (arn for path in ARNS for arn in named(call, path))


def _scaling(call: Call) -> Iterator[str]:
    if arns := named(call, "ResourceARN"):
        yield from arns
    elif not call.operation.startswith(("Describe", "Get")):
        members = ("ServiceNamespace", "ResourceId", "ScalableDimension")
        known = targets_of(call.region).get(TargetKey(*(str(call.params.get(member, "")) for member in members)))
        prefix = f"arn:aws:application-autoscaling:{call.region}:{call.account}:scalable-target/"
        yield known.arn if known else f"{prefix}*"


def _sns(call: Call) -> Iterator[str]:
    for arn in named(call, "SubscriptionArn"):
        yield arn.rpartition(":")[0]
    yield from _named(call)


def _sqs(call: Call) -> Iterator[str]:
    for url in named(call, "QueueUrl"):
        yield f"arn:aws:sqs:{call.region}:{call.account}:{url.rpartition('/')[2]}"
    yield from _named(call)


def _ssm(call: Call) -> Iterator[str]:
    if "Parameter" not in call.operation and (
        "Tags" not in call.operation or call.params.get("ResourceType") != "Parameter"
    ):
        return
    for name in named(call, "Name || Names || Path || ResourceId"):
        # Those that AWS publishes belong to no account:
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
        account = "" if name.startswith("/aws/service/") else call.account
        arn = f"arn:aws:ssm:{call.region}:{account}:parameter/{name.lstrip('/')}"
        yield name if name.startswith("arn:") else arn


def _sts(call: Call) -> Iterator[str]:
    yield from named(call, "RoleArn")
    yield from _named(call)


def _s3(call: Call) -> Iterator[str]:
    bucket = call.labels.get("Bucket")
    if bucket is None:
        return
    keys = [call.labels["Key"]] if "Key" in call.labels else keys_to_delete(call)
    yield from (f"arn:aws:s3:::{bucket}/{key}" for key in keys)
    if not keys:
        yield f"arn:aws:s3:::{bucket}"


def keys_to_delete(call: Call) -> list[str]:
    """The keys that DeleteObjects names."""
    if call.operation != "DeleteObjects":
        return []
    try:
        document = ElementTree.fromstring(call.body)  # noqa: S314 - expat limits expansion
    except ElementTree.ParseError:
        return []
    return [key.text or "" for key in document.iterfind("./{*}Object/{*}Key")]


_FINDERS = {
    "application-autoscaling": _scaling,
    "ec2": _ec2,
    "iam": _iam,
    "kms": _kms,
    "lambda": _lambda,
    "logs": _logs,
    "s3": _s3,
    "sns": _sns,
    "sqs": _sqs,
    "ssm": _ssm,
    "sts": _sts,
}
