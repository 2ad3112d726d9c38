"""Who a call comes from, and what IAM lets them do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import AssumedRole, sts_backends

from whippet.local.access import policies
from whippet.local.access.actions import Need, needs_of
from whippet.local.access.policies import Decision, Policy
from whippet.local.calls import AwsError, Call
from whippet.local.settings import ACCOUNT

#: A Lambda environment lives longer than the hour that AssumeRole gives by default.
SESSION_SECONDS = 12 * 3600

#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
SESSION_KEY_PREFIX = "ASIA"

#: Operations that need no permission: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
ALWAYS_ALLOWED = {("sts", "GetCallerIdentity")}


@dataclass(frozen=True)
class Principal:
    """A user, or a session of a role."""

    arn: str
    policies: tuple[Policy, ...]

    def decide(self, need: Need, context: Mapping[str, str] | None = None) -> Decision:
        """What the policies say about one action on one resource."""
        return policies.evaluate(self.policies, need.action, need.resource, context or {})

    def require(self, need: Need, context: Mapping[str, str]) -> None:
        """Raises what AWS answers where the policies do not allow an action.

        Raises:
            AwsError: AccessDenied, in the words of
                https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
        """
        decision = self.decide(need, context)
        if decision is Decision.ALLOWED:
            return
        because = (
            "with an explicit deny in an identity-based policy"
            if decision is Decision.EXPLICITLY_DENIED
            else f"because no identity-based policy allows the {need.action} action"
        )
        on = "" if need.resource == "*" else f" on resource: {need.resource}"
        raise AwsError("AccessDenied", f"User: {self.arn} is not authorized to perform: {need.action}{on} {because}")


@dataclass
class Principals:
    """The callers that moto's IAM and STS know.

    Credentials they do not know, such as the usual test/test, are the administrator's, so that a deployment needs no
    bootstrapping.
    """

    _sessions: dict[str, AssumedRole] = field(default_factory=dict)

    def authorise(self, call: Call) -> None:
        """Checks that the caller may do what they ask.

        Raises:
            AwsError: they may not.
        """
        principal = self.find(call.access_key)
        if principal is None or (call.service, call.operation) in ALWAYS_ALLOWED:
            return
        context = {
            "aws:requestedregion": call.region,
            "aws:principalarn": principal.arn,
            "aws:principalaccount": call.account,
            "aws:securetransport": "true",  # as on AWS, where the same call is made over TLS
            "aws:sourceip": call.request.remote_addr or "127.0.0.1",
        }
        if call.service == "s3":
            context["s3:prefix"] = call.request.args.get("prefix", "")
        try:
            for need in needs_of(call):
                principal.require(need, context)
        except AwsError as error:
            if error.code == "AccessDenied":
                raise denial(call, str(error)) from None
            raise

    def find(self, access_key: str) -> Principal | None:
        """The owner of an access key, None for the administrator.

        Raises:
            AwsError: it is the key of a session that does not exist, as of a role before a reset.
        """
        if session := self._session(access_key):
            return Principal(session.arn, tuple(role_policies(session.role_arn)))
        if access_key.startswith(SESSION_KEY_PREFIX):
            raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", status=403)
        backend = iam_backends[ACCOUNT]["aws"]
        user = backend.get_user_from_access_key_id(access_key)
        if user is None:
            return None
        groups = backend.get_groups_for_user(user.name)
        return Principal(user.arn, tuple(policy for owner in (user, *groups) for policy in _policies_of(owner)))

    def _session(self, access_key: str) -> AssumedRole | None:
        session = self._sessions.get(access_key)
        if session is None and access_key.startswith(SESSION_KEY_PREFIX):
            session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key)
            if session is not None:
                self._sessions[access_key] = session
        return session

    def reset(self) -> None:
        """Forgets every session."""
        self._sessions.clear()


def denial(call: Call, message: str) -> AwsError:
    """AccessDenied under the name that the service of a call gives it."""
    if call.protocol in ("json", "rest-json"):
        return AwsError("AccessDeniedException", message, status=400 if call.protocol == "json" else 403)
    return AwsError("UnauthorizedOperation" if call.protocol == "ec2" else "AccessDenied", message, status=403)


def role_principal(role_arn: str) -> Principal:
    """A role as the service that has assumed it acts for it."""
    return Principal(role_arn, tuple(role_policies(role_arn)))


def role_policies(role_arn: str) -> Iterator[Policy]:
    """The inline and attached policies of a role; none if there is no such role."""
    backend = iam_backends[ACCOUNT]["aws"]
    role = next((role for role in list(backend.roles.values()) if role.arn == role_arn), None)
    if role is not None:
        yield from _policies_of(role)


def _policies_of(owner: Any) -> Iterator[Policy]:
    for document in list(owner.policies.values()):
        yield policies.parse_policy(document)
    for managed in list(owner.managed_policies.values()):
        yield from (policies.parse_policy(version.document) for version in managed.versions if version.is_default)


def session_environment(role_arn: str, session_name: str, region: str) -> dict[str, str]:
    """Environment variables with credentials of a new session of a role."""
    session = sts_backends[ACCOUNT]["aws"].assume_role(
        region_name=region,
        role_session_name=session_name,
        role_arn=role_arn,
        policy="",
        duration=SESSION_SECONDS,
        external_id="",
    )
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }
