"""What the conditions of policies can ask of a request.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jmespath  # type: ignore[import-untyped]
from moto.awslambda.models import lambda_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.exceptions import ServiceException
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends
from moto.sns.models import sns_backends

from whippet.local.access.resource_policies import Arn, parse_arn
from whippet.local.calls import Call
from whippet.local.settings import ACCOUNT

#: Per service, condition keys and where the parameters hold them, as JMESPath finds them; a list is a key that can have
#: several values. From the pages of the services under
#: https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
PARAMETERS: dict[str, dict[str, str]] = {
    "application-autoscaling": {
        "application-autoscaling:scalable-dimension": "ScalableDimension",
        "application-autoscaling:service-namespace": "ServiceNamespace",
    },
    "cloudwatch": {
        "cloudwatch:alarmactions": "[AlarmActions, OKActions, InsufficientDataActions][][]",
        "cloudwatch:namespace": "Namespace",
    },
    "ec2": {
        "ec2:imageid": "ImageId",
        "ec2:instancetype": "InstanceType",
        "ec2:metadatahttptokens": "MetadataOptions.HttpTokens",
    },
    "iam": {
        "iam:awsservicename": "AWSServiceName",
        "iam:permissionsboundary": "PermissionsBoundary",
        "iam:policyarn": "PolicyArn",
    },
    "lambda": {
        "lambda:codesigningconfigarn": "CodeSigningConfigArn",
        "lambda:functionurlauthtype": "AuthType || FunctionUrlAuthType",
        "lambda:layer": "Layers",
        "lambda:principal": "Principal",
        "lambda:securitygroupids": "VpcConfig.SecurityGroupIds",
        "lambda:subnetids": "VpcConfig.SubnetIds",
    },
    "sagemaker": {
        "sagemaker:directinternetaccess": "DirectInternetAccess",
        "sagemaker:instancetypes": "[[InstanceType, ResourceConfig.InstanceType], ProductionVariants[].InstanceType, "
        "[TrainingJobDefinition.ResourceConfig.InstanceType]][][]",
        "sagemaker:intercontainertrafficencryption": "EnableInterContainerTrafficEncryption",
        "sagemaker:maxruntimeinseconds": "StoppingCondition.MaxRuntimeInSeconds",
        "sagemaker:minimuminstancemetadataserviceversion": (
            "InstanceMetadataServiceConfiguration.MinimumInstanceMetadataServiceVersion"
        ),
        "sagemaker:networkisolation": "EnableNetworkIsolation",
        "sagemaker:outputkmskey": "OutputDataConfig.KmsKeyId",
        "sagemaker:rootaccess": "RootAccess",
        "sagemaker:volumekmskey": "KmsKeyId || ResourceConfig.VolumeKmsKeyId",
        "sagemaker:vpcsecuritygroupids": "SecurityGroupIds || VpcConfig.SecurityGroupIds",
        "sagemaker:vpcsubnets": "[[SubnetId], VpcConfig.Subnets][][]",
    },
    "sagemaker-runtime": {"sagemaker:targetmodel": "TargetModel"},
    "sns": {"sns:endpoint": "Endpoint", "sns:protocol": "Protocol"},
    "ssm": {"ssm:overwrite": "Overwrite", "ssm:recursive": "Recursive"},
    "sts": {
        "sts:externalid": "ExternalId",
        "sts:rolesessionname": "RoleSessionName",
        "sts:sourceidentity": "SourceIdentity",
        "sts:transitivetagkeys": "TransitiveTagKeys",
    },
}

#: Keys of Amazon S3 that are in the query, or in a header.
_S3_QUERY = {"s3:delimiter": "delimiter", "s3:max-keys": "max-keys", "s3:prefix": "prefix", "s3:versionid": "versionId"}
_S3_HEADERS = {
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-storage-class",
}

#: Keys with the tag of a resource; those of a service of its own mean the same.
_RESOURCE_TAGS = ("aws:resourcetag/", "ec2:resourcetag/", "iam:resourcetag/", "sagemaker:resourcetag/")


class RequestContext(Mapping[str, str | Sequence[str]]):
    """The condition keys of one call on one resource, in lower case; each is found out when a policy asks for it."""

    def __init__(self, call: Call, resource: str) -> None:
        self._call = call
        self._resource = resource
        address = call.request.remote_addr or "127.0.0.1"
        self._known: dict[str, str] = {
            "aws:principalisawsservice": "false",  # a service that is asks by itself: see `principals`
            "aws:requestedregion": call.region,
            "aws:resourceaccount": call.account,
            "aws:securetransport": "true",  # as on AWS, where the same call is made over TLS
            "aws:sourceip": address,
            "aws:viaawsservice": "false",
        }
        if agent := call.request.headers.get("User-Agent"):
            self._known["aws:useragent"] = agent

    def __getitem__(self, key: str) -> str | Sequence[str]:
        value = self._known.get(key) or self._found(key)
        if value is None or value == []:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def _found(self, key: str) -> str | list[str] | None:
        prefix, slash, name = key.partition("/")
        if slash:
            return self._tag(prefix + slash, name)
        if key in ("aws:currenttime", "aws:epochtime"):  # the wall's, as that of the policies' makers
            now = time.gmtime()
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", now) if key == "aws:currenttime" else str(int(time.time()))
        if key == "aws:tagkeys":
            return list(_requested_tags(self._call))
        if key.startswith("s3:"):
            return self._of_s3(key)
        path = PARAMETERS.get(self._call.service, {}).get(key)
        return None if path is None else _texts(jmespath.search(path, self._call.params))

    def _tag(self, prefix: str, name: str) -> str | None:
        if prefix == "aws:requesttag/":
            tags = _requested_tags(self._call)
        elif prefix in _RESOURCE_TAGS:
            tags = resource_tags(self._resource)
        else:
            return None
        return next((value for key, value in tags.items() if key.lower() == name), None)

    def _of_s3(self, key: str) -> str | None:
        request = self._call.request
        if key == "s3:signatureversion":
            return "AWS" if "AWSAccessKeyId" in request.args else "AWS4-HMAC-SHA256"
        if key == "s3:authtype":
            return "REST-HEADER" if "Authorization" in request.headers else "REST-QUERY-STRING"
        if key == "s3:prefix" and self._call.operation.startswith("List"):
            return request.args.get("prefix", "")
        if key in _S3_QUERY:
            return request.args.get(_S3_QUERY[key])
        return request.headers.get(key.removeprefix("s3:")) if key in _S3_HEADERS else None


def _texts(value: Any) -> str | list[str] | None:
    if isinstance(value, list):
        return [_text(one) for one in value if one is not None]
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _requested_tags(call: Call) -> dict[str, str]:
    """The tags that a call brings, in whichever of the services' shapes; to take tags away, only keys."""
    params = call.params
    for name in ("Tags", "tags", "ResourceTags"):
        if tags := params.get(name):
            return tag_dictionary(tags)
    for specification in params.get("TagSpecifications") or ():
        if tags := specification.get("Tags"):
            return tag_dictionary(tags)
    keys = params.get("TagKeys") or params.get("tagKeys") or ()
    return dict.fromkeys(keys, "")


def tag_dictionary(tags: Any) -> dict[str, str]:
    """Tags in whichever of the services' shapes."""
    if isinstance(tags, Mapping):
        return {str(key): str(value) for key, value in tags.items()}
    return {str(tag.get("Key", tag.get("key"))): str(tag.get("Value", tag.get("value", ""))) for tag in tags or ()}


def resource_tags(arn: str) -> dict[str, str]:
    """The tags of a resource; none where it does not exist, or its service is not among those that are asked."""
    parsed = parse_arn(arn)
    find = _TAGS.get(parsed.service)
    if find is None:
        return {}
    try:
        return tag_dictionary(find(parsed, arn))
    except (ServiceException, LookupError, AttributeError, ValueError):  # in moto's ways of saying that there is none
        return {}


def _ec2_tags(arn: Arn, whole: str) -> Any:
    identifier = arn.resource.partition("/")[2]
    return [
        {"Key": tag["key"], "Value": tag["value"]}
        for tag in ec2_backends[ACCOUNT][arn.region].describe_tags({"resource-id": [identifier]})
    ]


def _iam_tags(arn: Arn, whole: str) -> Any:
    backend = iam_backends[ACCOUNT]["aws"]
    owners: tuple[Any, ...] = (
        *backend.roles.values(),
        *backend.users.values(),
        *backend.managed_policies.values(),
    )
    return next((owner.tags for owner in owners if owner.arn == whole), [])


def _s3_tags(arn: Arn, whole: str) -> Any:
    # Of a bucket; those of objects have keys of their own:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/tagging-and-policies.html
    return s3_backends[ACCOUNT]["aws"].tagger.get_tag_dict_for_resource(whole)


_TAGS: dict[str, Callable[[Arn, str], Any]] = {
    "cloudwatch": lambda arn, whole: cloudwatch_backends[ACCOUNT][arn.region].list_tags_for_resource(whole),
    "ec2": _ec2_tags,
    "iam": _iam_tags,
    "lambda": lambda arn, whole: lambda_backends[ACCOUNT][arn.region].list_tags(whole),
    "logs": lambda arn, whole: logs_backends[ACCOUNT][arn.region].list_tags_for_resource(
        whole.partition(":log-stream:")[0]
    ),
    "sagemaker": lambda arn, whole: sagemaker_backends[ACCOUNT][arn.region].list_tags(arn=whole)[0],  # and a token
    "sns": lambda arn, whole: sns_backends[ACCOUNT][arn.region].list_tags_for_resource(whole),
}
