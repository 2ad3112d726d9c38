"""The policies of resources, as moto keeps them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_identity-vs-resource.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends
from moto.kms.models import kms_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from whippet.local.access.policies import Policy, parse_policy
from whippet.local.settings import ACCOUNT


class Arn(NamedTuple):
    """The parts of `arn:partition:service:region:account:resource` that tell where a resource is."""

    service: str
    region: str
    resource: str


def parse_arn(arn: str) -> Arn:
    """Takes an ARN apart; what is none has empty parts."""
    _, _, service, region, _, resource = [*arn.split(":", 5), "", "", "", "", "", ""][:6]
    return Arn(service, region, resource)


def policy_of(arn: str) -> Policy | None:
    """The policy of a resource; None where it has none, or does not exist."""
    parsed = parse_arn(arn)
    find = _FINDERS.get(parsed.service)
    document = find(parsed) if find else None
    try:
        return parse_policy(document) if document else None
    except ValueError:  # which moto takes: it says nothing
        return None


def is_decisive(arn: str) -> bool:
    """Whether the policies of identities count only where the resource's lets them.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    """
    parsed = parse_arn(arn)
    return parsed.service == "kms" and parsed.resource.startswith("key/")


def restricts_public_access(arn: str) -> bool:
    """Whether a bucket lets only those in who have an account, whatever its policy says.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(parse_arn(arn).resource.partition("/")[0])
    block = None if bucket is None else bucket.public_access_block
    return block is not None and str(block.restrict_public_buckets).lower() == "true"


def _bucket_policy(arn: Arn) -> str | None:
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(arn.resource.partition("/")[0])
    return bucket.policy.decode() if bucket is not None and bucket.policy else None


def _function_policy(arn: Arn) -> str | None:
    kind, name, qualifier = [*arn.resource.split(":"), "", "", ""][:3]
    if kind != "function":
        return None
    try:
        function = lambda_backends[ACCOUNT][arn.region].get_function(name, qualifier or None)
    except UnknownFunctionException:
        return None
    statements = function.policy.statements
    return json.dumps({"Version": "2012-10-17", "Statement": statements}) if statements else None


def _key_policy(arn: Arn) -> str | None:
    key = kms_backends[ACCOUNT][arn.region].keys.get(arn.resource.removeprefix("key/"))
    return None if key is None else str(key.policy)


def _queue_policy(arn: Arn) -> str | None:
    queue = sqs_backends[ACCOUNT][arn.region].queues.get(arn.resource)
    return None if queue is None else queue.policy


def _topic_policy(arn: Arn) -> str | None:
    topic = sns_backends[ACCOUNT][arn.region].topics.get(f"arn:aws:sns:{arn.region}:{ACCOUNT}:{arn.resource}")
    return None if topic is None else topic.policy


_FINDERS: dict[str, Callable[[Arn], str | None]] = {
    "kms": _key_policy,
    "lambda": _function_policy,
    "s3": _bucket_policy,
    "sns": _topic_policy,
    "sqs": _queue_policy,
}
