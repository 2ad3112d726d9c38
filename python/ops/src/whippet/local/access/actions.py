"""What a call needs to be allowed to do: IAM actions, and the ARNs of the resources they concern.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

from whippet.local.calls import Call

#: Services whose actions carry another prefix than their name.
PREFIXES = {"sagemaker-runtime": "sagemaker"}

#: Operations that are authorised under another name.
RENAMED = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "lambda:InvokeWithResponseStream": "lambda:InvokeFunction",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:UploadPart": "s3:PutObject",
}

#: Per service, the parameters that name a resource, and that resource in an ARN.
RESOURCES = {
    "cloudwatch": {"AlarmName": "alarm:{}"},
    "iam": {
        "InstanceProfileName": "instance-profile/{}",
        "RoleName": "role/{}",
        "UserName": "user/{}",
    },
    "kms": {"KeyId": "key/{}"},
    "lambda": {"FunctionName": "function:{}"},
    "sagemaker": {
        "EndpointConfigName": "endpoint-config/{}",
        "EndpointName": "endpoint/{}",
        "HyperParameterTuningJobName": "hyper-parameter-tuning-job/{}",
        "ModelName": "model/{}",
        "ModelPackageGroupName": "model-package-group/{}",
        "NotebookInstanceLifecycleConfigName": "notebook-instance-lifecycle-config/{}",
        "NotebookInstanceName": "notebook-instance/{}",
        "TrainingJobName": "training-job/{}",
    },
    "ssm": {"Name": "parameter/{}"},
}
RESOURCES["sagemaker-runtime"] = RESOURCES["sagemaker"]

#: Parameters that hold the ARN of the resource itself.
ARN_PARAMETERS = ("ResourceArn", "ResourceARN", "resourceArn", "Resource", "PolicyArn", "RoleArn")


class Need(NamedTuple):
    """An action on a resource that a caller must be allowed."""

    action: str
    resource: str


def needs_of(call: Call) -> list[Need]:
    """What the caller must be allowed; a call that names no resource needs the action on `*`."""
    prefix = PREFIXES.get(call.service, call.service)
    action = f"{prefix}:{call.operation}"
    action = RENAMED.get(action, action)
    if call.service == "s3":
        return list(_s3_needs(call, action))
    resources = list(_logs_resources(call) if call.service == "logs" else _named_resources(call, prefix))
    return [Need(action, resource) for resource in resources or ["*"]]


def _named_resources(call: Call, prefix: str) -> Iterator[str]:
    region = "" if prefix == "iam" else call.region
    for parameter, template in RESOURCES.get(call.service, {}).items():
        name = call.params.get(parameter)
        if not isinstance(name, str):
            continue
        if name.startswith("arn:"):
            yield name
        else:
            yield f"arn:aws:{prefix}:{region}:{call.account}:{template.format(name.lstrip('/'))}"
    if call.service in ("sts", "iam", "sagemaker", "lambda", "cloudwatch"):
        # CreateFunction and its like name a role, which is what they pass on, not what they change.
        is_creation = call.operation.startswith(("Create", "Update"))
        arns = (call.params.get(parameter) for parameter in ARN_PARAMETERS)
        yield from (arn for arn in arns if isinstance(arn, str) and arn.startswith("arn:") and not is_creation)


def _logs_resources(call: Call) -> Iterator[str]:
    if group := call.params.get("logGroupName"):
        yield log_stream_arn(call.region, call.account, group, call.params.get("logStreamName", ""))


def log_stream_arn(region: str, account: str, group: str, stream: str = "") -> str:
    """The ARN that CloudWatch Logs checks; that of a group ends in an empty stream name."""
    return f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{stream}"


def _s3_needs(call: Call, action: str) -> Iterator[Need]:
    bucket = call.labels.get("Bucket")
    if bucket is None:
        yield Need(action, "*")
        return
    keys = [call.labels["Key"]] if "Key" in call.labels else _keys_to_delete(call)
    for key in keys:
        yield Need(action, f"arn:aws:s3:::{bucket}/{key}")
    if not keys:
        yield Need(action, f"arn:aws:s3:::{bucket}")
    if source := call.request.headers.get("x-amz-copy-source"):
        yield Need("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').split('?')[0]}")


def _keys_to_delete(call: Call) -> list[str]:
    if call.operation != "DeleteObjects":
        return []
    keys = ElementTree.fromstring(call.body).iterfind("./{*}Object/{*}Key")  # noqa: S314 - expat limits expansion
    return [key.text or "" for key in keys]
