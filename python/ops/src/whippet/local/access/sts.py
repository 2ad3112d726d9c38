"""AWS STS: who may have which temporary credentials.

https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.access import sessions
from whippet.local.access.actions import Need
from whippet.local.access.authorisation import authenticate
from whippet.local.access.context import RequestContext, tag_dictionary
from whippet.local.access.policies import Decision, parse_policy
from whippet.local.access.principals import (
    Principal,
    denial,
    find_role,
    iam,
    refused,
)
from whippet.local.access.roles import trust_policy
from whippet.local.access.sessions import SESSION_KEY_PREFIX, Session
from whippet.local.calls import AwsError, Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: Seconds. https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
SHORTEST_SESSION = 900
LONGEST_SESSION = 12 * 3600
DEFAULT_SESSION = 3600
#: A session of a role that a session of a role has asked for.
LONGEST_CHAINED_SESSION = 3600
#: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
DEFAULT_USER_SESSION = 12 * 3600
LONGEST_USER_SESSION = 36 * 3600
LONGEST_ADMINISTRATOR_SESSION = 3600

_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


def assume_role(call: Call, forward: Forward) -> Response:
    """AssumeRole, as the role's trust policy has it."""
    params = call.params
    role_arn, name = params.get("RoleArn", ""), params.get("RoleSessionName", "")
    if not _SESSION_NAME.fullmatch(name):
        message = f"Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular "
        raise AwsError("ValidationError", f"1 validation error detected: {message}expression pattern: [\\w+=,.@-]*")
    principal = authenticate(call)
    _check_may_assume(call, principal, role_arn)
    role = find_role(role_arn)
    seconds = _assumed_seconds(params.get("DurationSeconds"), role, bool(principal.role_arn))
    session = sessions.begin(
        name,
        seconds,
        role_arn=role_arn,
        role_id=role.id,
        policies=_session_policies(params),
        tags=tag_dictionary(params.get("Tags")),
        context=_source_identity(params, principal),
    )
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{name}"
    user = {"AssumedRoleId": f"{role.id}:{name}", "Arn": arn}
    return answer(
        call,
        {
            "Credentials": _credentials(session),
            "AssumedRoleUser": user,
            "SourceIdentity": session.context.get("sts:sourceidentity") or None,
        },
    )


def _check_may_assume(call: Call, principal: Principal, role_arn: str) -> None:
    """A role that does not exist is refused in the same words, so that nobody learns which ones there are."""
    trust = trust_policy(role_arn)
    needs = [Need("sts:AssumeRole", role_arn)]
    if call.params.get("Tags"):
        needs.append(Need("sts:TagSession", role_arn))
    if call.params.get("SourceIdentity"):
        needs.append(Need("sts:SetSourceIdentity", role_arn))
    for need in needs:
        verdict = principal.judge(need, RequestContext(call, role_arn), trust, is_resource_decisive=True)
        if verdict.decision is Decision.ALLOWED and trust is not None:
            continue
        message = refused(principal, need, verdict)
        if verdict.kind == "resource-based policy" and verdict.decision is Decision.NOT_ALLOWED:
            message = message.partition(" because ")[0]  # AWS does not say that it was the trust policy
        raise denial(call, message)


def _assumed_seconds(asked: Any, role: Any, is_chained: bool) -> int:
    longest = int(role.max_session_duration or DEFAULT_SESSION)
    seconds = int(asked) if asked is not None else DEFAULT_SESSION
    if not SHORTEST_SESSION <= seconds <= LONGEST_SESSION:
        raise _wrong_duration(seconds, SHORTEST_SESSION, LONGEST_SESSION)
    if is_chained and seconds > LONGEST_CHAINED_SESSION:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        raise AwsError("ValidationError", message)
    if seconds > longest:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsError("ValidationError", message)
    return seconds


def _wrong_duration(seconds: int, least: int, most: int) -> AwsError:
    bound = f"greater than or equal to {least}" if seconds < least else f"less than or equal to {most}"
    message = f"Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value {bound}"
    return AwsError("ValidationError", f"1 validation error detected: {message}")


def _session_policies(params: dict[str, Any]) -> tuple[str, ...] | None:
    """The documents of the session policies; managed ones as they are now, which is what AWS packs into the token."""
    documents = [params["Policy"]] if params.get("Policy") else []
    for described in params.get("PolicyArns") or ():
        managed = iam().managed_policies.get(described.get("arn"))
        if managed is None:
            raise AwsError("ValidationError", f"The policy {described.get('arn')} does not exist.")
        documents += [version.document for version in managed.versions if version.is_default]
    for document in documents:
        try:
            statements = parse_policy(document)
        except ValueError:
            raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.") from None
        if any(statement.principals is not None for statement in statements):
            raise AwsError("MalformedPolicyDocument", "Policy document should not specify a principal.")
    return tuple(documents) or None


def _source_identity(params: dict[str, Any], principal: Principal) -> dict[str, str]:
    """Once set, it stays through all roles that are assumed with it."""
    identity = params.get("SourceIdentity") or principal.context.get("aws:sourceidentity")
    return {"aws:sourceidentity": identity, "sts:sourceidentity": identity} if identity else {}


def get_session_token(call: Call, forward: Forward) -> Response:
    """GetSessionToken: temporary credentials of a user, or of the administrator."""
    principal = authenticate(call)
    if principal.role_arn or call.access_key.startswith(SESSION_KEY_PREFIX):
        raise denial(call, "Cannot call GetSessionToken with session credentials")
    seconds = int(call.params.get("DurationSeconds") or DEFAULT_USER_SESSION)
    if not SHORTEST_SESSION <= seconds <= LONGEST_USER_SESSION:
        raise _wrong_duration(seconds, SHORTEST_SESSION, LONGEST_USER_SESSION)
    if principal.is_administrator:
        seconds = min(seconds, LONGEST_ADMINISTRATOR_SESSION)
    session = sessions.begin("", seconds, user=principal.context.get("aws:username", ""))
    return answer(call, {"Credentials": _credentials(session)})


def get_caller_identity(call: Call, forward: Forward) -> Response:
    """GetCallerIdentity."""
    principal = authenticate(call)
    return answer(call, {"UserId": principal.context.get("aws:userid", ""), "Account": ACCOUNT, "Arn": principal.arn})


def get_federation_token(call: Call, forward: Forward) -> Response:
    """GetFederationToken, whose credentials moto only makes up."""
    message = "Local AWS does not implement sts:GetFederationToken: use AssumeRole."
    raise AwsError("NotImplemented", message, status=501)


def _credentials(session: Session) -> dict[str, Any]:
    return {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": datetime.fromtimestamp(session.expires_at, UTC).replace(microsecond=0),
    }


HANDLERS: Handlers = {
    ("sts", "AssumeRole"): assume_role,
    ("sts", "GetCallerIdentity"): get_caller_identity,
    ("sts", "GetFederationToken"): get_federation_token,
    ("sts", "GetSessionToken"): get_session_token,
}
