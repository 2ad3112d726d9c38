"""What a call needs to be allowed to do: IAM actions on resources.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from whippet.local.access.resources import log_stream_arn, resources_of
from whippet.local.calls import Call

__all__ = ["Need", "action_of", "log_stream_arn", "needs_of"]

#: Services whose actions carry another prefix than their name.
PREFIXES = {"resourcegroupstaggingapi": "tag", "sagemaker-runtime": "sagemaker", "stepfunctions": "states"}

#: Operations that are authorised under another name.
RENAMED = {
    "kms:ReEncrypt": "kms:ReEncryptFrom",
    "lambda:Invoke": "lambda:InvokeFunction",
    "lambda:InvokeWithResponseStream": "lambda:InvokeFunction",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:PostObject": "s3:PutObject",
    "s3:SelectObjectContent": "s3:GetObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}

#: Settings of buckets, and what the actions call them. To delete one needs the action that puts it:
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_BUCKET_SETTINGS = {
    "BucketAccelerateConfiguration": "AccelerateConfiguration",
    "BucketAnalyticsConfiguration": "AnalyticsConfiguration",
    "BucketCors": "BucketCORS",
    "BucketEncryption": "EncryptionConfiguration",
    "BucketIntelligentTieringConfiguration": "IntelligentTieringConfiguration",
    "BucketInventoryConfiguration": "InventoryConfiguration",
    "BucketLifecycle": "LifecycleConfiguration",
    "BucketLifecycleConfiguration": "LifecycleConfiguration",
    "BucketMetricsConfiguration": "MetricsConfiguration",
    "BucketNotificationConfiguration": "BucketNotification",
    "BucketOwnershipControls": "BucketOwnershipControls",
    "BucketReplication": "ReplicationConfiguration",
    "BucketTagging": "BucketTagging",
    "ObjectLockConfiguration": "BucketObjectLockConfiguration",
    "PublicAccessBlock": "BucketPublicAccessBlock",
}

#: Of actions on objects, those that have another name for one version.
_VERSIONED = re.compile(r"s3:((Get|Delete)Object|(Get|Put|Delete)ObjectTagging|(Get|Put)ObjectAcl|GetObjectAttributes)")

#: What else a header of a call to Amazon S3 needs.
_S3_HEADERS = {
    "PutObject": {
        "x-amz-acl": "s3:PutObjectAcl",
        "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
        "x-amz-object-lock-mode": "s3:PutObjectRetention",
        "x-amz-tagging": "s3:PutObjectTagging",
    },
    "CreateBucket": {"x-amz-acl": "s3:PutBucketAcl", "x-amz-object-ownership": "s3:PutBucketOwnershipControls"},
    "DeleteObject": {"x-amz-bypass-governance-retention": "s3:BypassGovernanceRetention"},
}
_S3_HEADERS["CopyObject"] = _S3_HEADERS["CreateMultipartUpload"] = _S3_HEADERS["PutObject"]

#: What tags at the creation of a resource need.
_TAG_ACTIONS = {
    "application-autoscaling": "application-autoscaling:TagResource",
    "budgets": "budgets:TagResource",
    "cloudwatch": "cloudwatch:TagResource",
    "ecr": "ecr:TagResource",
    "kms": "kms:TagResource",
    "lambda": "lambda:TagResource",
    "logs": "logs:TagResource",
    "sagemaker": "sagemaker:AddTags",
    "sns": "sns:TagResource",
    "sqs": "sqs:TagQueue",
    "ssm": "ssm:AddTagsToResource",
    "sts": "sts:TagSession",
}
_MAKES = re.compile("Create|Put|Register|RequestSpot|RunInstances|AssumeRole")


class Need(NamedTuple):
    """An action on a resource that a caller must be allowed."""

    action: str
    resource: str


def action_of(call: Call) -> str:
    """The IAM action of a call."""
    prefix = PREFIXES.get(call.service, call.service)
    if call.service == "budgets":
        return "budgets:ViewBudget" if call.operation.startswith("Describe") else "budgets:ModifyBudget"
    action = f"{prefix}:{call.operation}"
    return RENAMED.get(action) or (_s3_action(call.operation) if call.service == "s3" else action)


def _s3_action(operation: str) -> str:
    verb, setting = re.fullmatch("(Get|Put|Delete|List|)(.*)", operation).groups()  # type: ignore[union-attr]
    if verb == "List" and (named := _BUCKET_SETTINGS.get(setting.removesuffix("s"))):
        return f"s3:Get{named}"
    if named := _BUCKET_SETTINGS.get(setting):
        return f"s3:{'Put' if verb == 'Delete' else verb}{named}"
    return f"s3:{operation}"


def needs_of(call: Call) -> list[Need]:
    """What the caller must be allowed, apart from passing a role: see `roles`.

    An operation that no table here knows needs the action of its own name on `*`, or on the ARN that it names.
    """
    action = action_of(call)
    if call.service == "s3":
        return list(dict.fromkeys(_s3_needs(call, action)))
    resources = resources_of(call)
    needs = [Need(action, resource) for resource in resources]
    if call.operation == "ReEncrypt":
        needs += [Need("kms:ReEncryptTo", resource) for resource in resources]
    return needs + list(_tagging_needs(call, resources))


def _tagging_needs(call: Call, resources: list[str]) -> Iterator[Need]:
    if not _MAKES.match(call.operation):
        return
    if call.service == "ec2":
        for specification in call.params.get("TagSpecifications") or ():
            kind = specification.get("ResourceType", "*")
            yield Need("ec2:CreateTags", f"arn:aws:ec2:{call.region}:{call.account}:{kind}/*")
    elif any(call.params.get(name) for name in ("Tags", "tags", "ResourceTags")):
        action = _TAG_ACTIONS.get(call.service, "")
        if call.service == "iam":
            action = f"iam:Tag{call.operation.removeprefix('Create')}"
        if action:
            yield from (Need(action, resource) for resource in resources)


def _s3_needs(call: Call, action: str) -> Iterator[Need]:
    if "versionId" in call.request.args and _VERSIONED.fullmatch(action):
        action = action.replace("Object", "ObjectVersion", 1)
    actions = [action]
    if call.operation == "GetObjectAttributes":
        actions.append(action.removesuffix("Attributes"))
    headers = call.request.headers
    actions += [extra for header, extra in _S3_HEADERS.get(call.operation, {}).items() if header in headers]
    for resource in resources_of(call):
        yield from (Need(one, resource) for one in actions)
    if source := headers.get("x-amz-copy-source"):
        path, _, version = unquote(source).lstrip("/").partition("?versionId=")
        yield Need("s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{path}")
