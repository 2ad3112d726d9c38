"""Lets a call through, or answers as AWS does to a caller who is not who they say or may not do what they ask."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

from moto.core.base_backend import AccountSpecificBackend

from whippet.local.access import resource_policies
from whippet.local.access.actions import Need, needs_of
from whippet.local.access.context import RequestContext
from whippet.local.access.patterns import Context
from whippet.local.access.policies import Decision
from whippet.local.access.principals import (
    ADMINISTRATOR_KEY,
    ANONYMOUS,
    Principal,
    denial,
    find_credentials,
    refused,
)
from whippet.local.access.refusals import Problem, Refusals
from whippet.local.access.roles import check_trust, passes_of
from whippet.local.access.signatures import check_form, session_token, verify
from whippet.local.calls import AwsError, Call, Signature, read_signature, service_model

#: Operations that need no permission: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
#: and https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html. AssumeRole's needs the trust policy
#: and is decided where that is: see `sts`.
DECIDED_ELSEWHERE = {("sts", "AssumeRole"), ("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")}

#: Operations that are called without a signature, since somebody else vouches for the caller.
UNSIGNED_OPERATIONS = {("sts", "AssumeRoleWithSAML"), ("sts", "AssumeRoleWithWebIdentity")}

#: What nobody can keep the administrator from, lest a bucket's policy lock everybody out:
#: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
ADMINISTRATORS = {"s3:DeleteBucketPolicy", "s3:GetBucketPolicy", "s3:PutBucketPolicy"}


def authorise(call: Call) -> None:
    """Checks that the caller is who they say, that they may do what they ask, and pass on the roles that they name.

    Raises:
        AwsError: they are not, or may not, or a role cannot be assumed.
    """
    principal = authenticate(call)
    if (call.service, call.operation) in DECIDED_ELSEWHERE:
        return
    for need in needs_of(call):
        require(call, principal, need, RequestContext(call, need.resource))
    for passed in passes_of(call):
        require(call, principal, passed.need, passed.context)
    check_trust(call)


def authenticate(call: Call) -> Principal:
    """Finds out who makes a call, by its signature.

    Raises:
        AwsError: it has none, or one that is not its caller's.
    """
    refusals = Refusals.of(call)
    signature = read_signature(call.request)
    if signature is not None:
        return verified(call, signature, refusals)
    if (call.service, call.operation) in UNSIGNED_OPERATIONS:
        message = f"Local AWS does not implement sts:{call.operation}: it knows no provider of identities."
        raise AwsError("NotImplemented", message, status=501)
    if call.service == "s3" and not _is_form(call):
        return ANONYMOUS
    raise refusals.make(Problem.MISSING)


def _is_form(call: Call) -> bool:
    """Whether a call uploads through a form, whose policy would have to be checked.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
    """
    if call.request.mimetype != "multipart/form-data" or call.request.method != "POST":
        return False
    message = "Local AWS takes no uploads through presigned forms (POST): presign put_object instead."
    raise AwsError("NotImplemented", message, status=501)


def verified(call: Call, signature: Signature, refusals: Refusals, now: float | None = None) -> Principal:
    """Whose a signature is.

    Args:
        call: what is signed.
        signature: read from it.
        refusals: makes the errors of the service.
        now: seconds since 1970; by the wall's clock unless given, as those of clients.

    Raises:
        AwsError: nobody's, or it is wrong.
    """
    now = time.time() if now is None else now
    check_form(call.request, signature, refusals)
    _check_scope(call, signature, refusals)
    credentials = find_credentials(signature.access_key)
    if credentials is None:
        raise refusals.make(Problem.UNKNOWN_KEY)
    token = session_token(call.request, signature)
    if credentials.secret.token is not None and token != credentials.secret.token:
        raise refusals.make(Problem.WRONG_TOKEN)
    if credentials.secret.token is None and token and signature.access_key != ADMINISTRATOR_KEY:
        raise refusals.make(Problem.WRONG_TOKEN)
    if credentials.expires_at <= now:
        raise refusals.make(Problem.EXPIRED_TOKEN)
    refusals = replace(refusals, advises=signature.access_key == ADMINISTRATOR_KEY)
    verify(call.request, call.body, signature, credentials.secret, now, refusals)
    return credentials.principal


def _check_scope(call: Call, signature: Signature, refusals: Refusals) -> None:
    """Refuses a signature for another service than the one that is called, or for a region that it is not in."""
    model = service_model(call.service)
    if model is not None and signature.service != model.signing_name:
        correct = f"Credential should be scoped to correct service: '{model.signing_name}'."
        raise refusals.make(Problem.SCOPE, correct)
    if (regions := _regions_of(call.service)) and signature.region not in regions:
        raise refusals.make(Problem.SCOPE, f"Credential should be scoped to a valid region, not '{signature.region}'.")


@cache
def _regions_of(service: str) -> frozenset[str]:
    """The regions that a service is in; none where it is in all at once, as IAM is."""
    session = AccountSpecificBackend.get_session()  # moto's own, which has read botocore's list
    if not session.get_available_regions(service):  # in the partition `aws`; Budgets has regions in another one only
        return frozenset()
    partitions = session.get_available_partitions()
    return frozenset(region for one in partitions for region in session.get_available_regions(service, one))


def require(call: Call, principal: Principal, need: Need, context: Context) -> None:
    """Raises what AWS answers where the policies do not allow an action.

    Raises:
        AwsError: AccessDenied under the service's name of it.
    """
    if principal.is_administrator and need.action in ADMINISTRATORS:
        return
    verdict = principal.judge(
        need, context, resource_policies.policy_of(need.resource), resource_policies.is_decisive(need.resource)
    )
    is_kept_out = principal is ANONYMOUS and resource_policies.restricts_public_access(need.resource)
    if verdict.decision is Decision.ALLOWED and not is_kept_out:
        return
    if principal is ANONYMOUS:
        raise denial(call, "Access Denied")
    raise denial(call, refused(principal, need, verdict, call.service))
