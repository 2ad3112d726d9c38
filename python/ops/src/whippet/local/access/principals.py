"""Who calls come from, and what IAM lets them do."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, cast

from moto.iam.models import iam_backends

from whippet.local.access import policies, sessions
from whippet.local.access.actions import Need
from whippet.local.access.patterns import Context
from whippet.local.access.policies import ALLOW_ALL, Decision, Policy, Statement
from whippet.local.access.resource_policies import is_decisive, policy_of
from whippet.local.access.sessions import SESSION_KEY_PREFIX, Session
from whippet.local.access.signatures import Secret
from whippet.local.calls import AwsError, Call
from whippet.local.settings import ACCOUNT

#: The administrator's credentials.
ADMINISTRATOR_KEY = "test"
ADMINISTRATOR_SECRET = "test"  # noqa: S105 - the documented credentials of local AWS
ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"

#: What policies can ask of what a service does with a role: it comes over TLS, and the role is no service.
CALLS_OF_SERVICES = {
    "aws:principalisawsservice": "false",
    "aws:resourceaccount": ACCOUNT,
    "aws:securetransport": "true",
}

#: A Lambda environment lives longer than the hour that AssumeRole gives by default.
SESSION_SECONDS = 12 * 3600


class Grant(IntEnum):
    """How closely a resource's policy names a caller; the closer, the less else limits them."""

    NOBODY = 0
    #: Their account, which leaves it to the policies of its identities.
    ACCOUNT = 1
    #: Their role, whose boundary and session policies still limit them.
    ROLE = 2
    #: They themselves.
    SELF = 3


class Verdict(NamedTuple):
    """What all policies together say, and the kind of policy that says it."""

    decision: Decision
    kind: str = "identity-based policy"


@dataclass(frozen=True)
class Principal:
    """A user, a session of a role, the administrator, a service, or nobody in particular.

    Attributes:
        arn: who they are.
        policies: their own policies, and those of their groups.
        boundary: their permissions boundary; None where they have none.
        session_policies: those that AssumeRole was given; None where it was given none.
        role_arn: the role, where they are a session of one.
        service: the service, where they are one.
        context: condition keys, in lower case, and their values.
    """

    arn: str = ""
    policies: tuple[Policy, ...] = ()
    boundary: Policy | None = None
    session_policies: tuple[Policy, ...] | None = None
    role_arn: str = ""
    service: str = ""
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_administrator(self) -> bool:
        """Whether everything is theirs."""
        return self.arn == ROOT_ARN

    def decide(self, need: Need, context: Context | None = None) -> Decision:
        """What all policies say about one action on one resource, that of the resource among them.

        For what services do with a role, which is no call that comes in here.
        """
        known = {**CALLS_OF_SERVICES, **(context or {})}
        return self.judge(need, known, policy_of(need.resource), is_decisive(need.resource)).decision

    def judge(
        self, need: Need, context: Context, resource_policy: Policy | None = None, is_resource_decisive: bool = False
    ) -> Verdict:
        """What all policies together say about one action on one resource of the same account.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html

        Args:
            need: the action and the resource.
            context: what is known of the request.
            resource_policy: the policy of the resource; None where it has none.
            is_resource_decisive: whether the policies of identities count only where the resource's lets them, as for
                roles and keys.
        """
        known = ChainMap[str, Any](dict(self.context), cast("dict[str, Any]", context))
        said = {
            kind: policies.evaluate(said_by, need.action, need.resource, known)
            for kind, said_by in (
                ("identity-based policy", self.policies),
                ("permissions boundary", None if self.boundary is None else (self.boundary,)),
                ("session policy", self.session_policies),
            )
            if said_by is not None
        }
        grant = self._granted(resource_policy or (), need, known)
        if grant is None:
            return Verdict(Decision.EXPLICITLY_DENIED, "resource-based policy")
        if denying := next((kind for kind, what in said.items() if what is Decision.EXPLICITLY_DENIED), None):
            return Verdict(Decision.EXPLICITLY_DENIED, denying)
        if grant is Grant.SELF:
            return Verdict(Decision.ALLOWED, "resource-based policy")
        if not self.arn or (is_resource_decisive and grant is Grant.NOBODY):
            return Verdict(Decision.NOT_ALLOWED, "resource-based policy")
        if grant is Grant.ROLE:
            said.pop("identity-based policy")
        lacking = next((kind for kind, what in said.items() if what is Decision.NOT_ALLOWED), None)
        return Verdict(Decision.NOT_ALLOWED, lacking) if lacking else Verdict(Decision.ALLOWED)

    def _granted(self, policy: Policy, need: Need, context: Context) -> Grant | None:
        """How a resource's policy allows an action; None where it denies it."""
        best = Grant.NOBODY
        for statement in policy:
            grant = self.named_by(statement)
            if grant is not Grant.NOBODY and statement.applies(need.action, need.resource, context):
                if not statement.allows:
                    return None
                best = max(best, grant)
        return best

    def named_by(self, statement: Statement) -> Grant:
        """How closely a statement of a resource's policy names this principal.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
        """
        grants = {self._named(kind, name) for kind, name in statement.principals or ()}
        closest = max(grants, default=Grant.NOBODY)
        if not statement.negates_principals:
            return closest
        # A denial spares only those whom it names as session, as role and as account, and nobody who has a boundary:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
        chain = {Grant.SELF}
        if self.arn and not self.service:
            chain |= {Grant.ACCOUNT, Grant.ROLE} if self.role_arn else {Grant.ACCOUNT}
        is_spared = closest is not Grant.NOBODY if statement.allows else chain <= grants and self.boundary is None
        if is_spared:
            return Grant.NOBODY
        return Grant.ROLE if self.role_arn else Grant.SELF

    def _named(self, kind: str, name: str) -> Grant:
        if kind == "Service":
            return Grant.SELF if name == self.service else Grant.NOBODY
        if kind != "AWS" or self.service:
            return Grant.NOBODY
        if name == "*":
            return Grant.ROLE if self.role_arn else Grant.SELF
        if not self.arn:
            return Grant.NOBODY
        if name == self.arn:
            return Grant.SELF
        if name == self.role_arn:
            return Grant.ROLE
        return Grant.ACCOUNT if name in (ROOT_ARN, ACCOUNT) else Grant.NOBODY


ANONYMOUS = Principal()
ADMINISTRATOR = Principal(
    ROOT_ARN,
    (ALLOW_ALL,),
    context={
        "aws:principalarn": ROOT_ARN,
        "aws:principalaccount": ACCOUNT,
        "aws:principaltype": "Account",
        "aws:userid": ACCOUNT,
    },
)


class Credentials(NamedTuple):
    """What proves who a caller is, and who they then are."""

    secret: Secret
    principal: Principal
    expires_at: float = float("inf")


def find_credentials(access_key: str) -> Credentials | None:
    """The credentials with an access key; None where nobody has it or it is inactive."""
    if access_key == ADMINISTRATOR_KEY:
        return Credentials(Secret(ADMINISTRATOR_SECRET), ADMINISTRATOR)
    if access_key.startswith(SESSION_KEY_PREFIX):
        session = sessions.find(access_key)
        principal = None if session is None else session_principal(session)
        if session is None or principal is None:
            return None
        return Credentials(Secret(session.secret, session.token), principal, session.expires_at)
    key = iam().access_keys.get(access_key)
    if key is None or key.status != "Active" or key.user_name not in iam().users:
        return None
    return Credentials(Secret(key.secret_access_key), user_principal(iam().users[key.user_name]))


def session_principal(session: Session) -> Principal | None:
    """Who has the credentials of a session; None where their role or user is no more."""
    issued = {**session.context, "aws:tokenissuetime": _iso(session.issued_at), "aws:multifactorauthpresent": "false"}
    limits = None if session.policies is None else tuple(map(policies.parse_policy, session.policies))
    if session.role_arn:
        role = find_role(session.role_arn)
        if role is None or role.id != session.role_id:
            return None
        return _role_principal(role, session.name, limits, {**_tags_of(role.tags), **session.tags}, issued)
    if not session.user:
        return Principal(ROOT_ARN, (ALLOW_ALL,), session_policies=limits, context={**ADMINISTRATOR.context, **issued})
    user = iam().users.get(session.user)
    return None if user is None else user_principal(user, limits, issued)


def user_principal(
    user: Any, session_policies: tuple[Policy, ...] | None = None, context: Mapping[str, str] | None = None
) -> Principal:
    """A user of moto's IAM."""
    owners = (user, *iam().get_groups_for_user(user.name))
    return Principal(
        user.arn,
        tuple(policy for owner in owners for policy in _policies_of(owner)),
        _boundary_of(user),
        session_policies,
        context={
            "aws:principalarn": user.arn,
            "aws:principalaccount": ACCOUNT,
            "aws:principaltype": "User",
            "aws:userid": user.id,
            "aws:username": user.name,
            **_principal_tags(_tags_of(user.tags)),
            **(context or {}),
        },
    )


def role_principal(role_arn: str) -> Principal:
    """A role as the service that has assumed it acts for it; one that does not exist may do nothing."""
    role = find_role(role_arn)
    if role is None:
        return Principal(role_arn)
    return _role_principal(role, "", None, _tags_of(role.tags), {})


def _role_principal(
    role: Any, session: str, limits: tuple[Policy, ...] | None, tags: Mapping[str, str], context: Mapping[str, str]
) -> Principal:
    return Principal(
        f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{session}" if session else role.arn,
        tuple(_policies_of(role)),
        _boundary_of(role),
        limits,
        role.arn,
        context={
            "aws:principalarn": role.arn,
            "aws:principalaccount": ACCOUNT,
            "aws:principaltype": "AssumedRole",
            "aws:userid": f"{role.id}:{session}",
            **_principal_tags(tags),
            **context,
        },
    )


def service_principal(service: str) -> Principal:
    """An AWS service, such as `lambda.amazonaws.com`."""
    return Principal(service, service=service, context={"aws:principalisawsservice": "true"})


def find_role(role_arn: str) -> Any:
    """The role in moto's IAM; None where there is none."""
    return next((role for role in list(iam().roles.values()) if role.arn == role_arn), None)


def iam() -> Any:
    """Moto's IAM."""
    return iam_backends[ACCOUNT]["aws"]


def _policies_of(owner: Any) -> Iterator[Policy]:
    for document in list(owner.policies.values()):
        yield policies.parse_policy(document)
    for managed in list(owner.managed_policies.values()):
        yield managed_policy(managed)


def managed_policy(managed: Any) -> Policy:
    """The version of a managed policy that counts."""
    documents = (version.document for version in managed.versions if version.is_default)
    return next(map(policies.parse_policy, documents), ())


def _boundary_of(owner: Any) -> Policy | None:
    arn = getattr(owner, "permissions_boundary_arn", None)
    if not arn:
        return None
    managed = iam().managed_policies.get(arn)
    return () if managed is None else managed_policy(managed)


def _tags_of(tags: list[dict[str, str]] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags or []}


def _principal_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"aws:principaltag/{key.lower()}": value for key, value in tags.items()}


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def refused(principal: Principal, need: Need, verdict: Verdict, service: str = "") -> str:
    """Why an action is refused.

    In the words of https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html; Amazon S3 puts the
    resource between quotes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html.
    """
    because = (
        f"with an explicit deny in a{'n' if verdict.kind[0] in 'aeiou' else ''} {verdict.kind}"
        if verdict.decision is Decision.EXPLICITLY_DENIED
        else f"because no {verdict.kind} allows the {need.action} action"
    )
    resource = f'"{need.resource}"' if service == "s3" else need.resource
    on = "" if need.resource == "*" else f" on resource: {resource}"
    return f"User: {principal.arn} is not authorized to perform: {need.action}{on} {because}"


def denial(call: Call, message: str) -> AwsError:
    """AccessDenied under the name that the service of a call gives it."""
    if call.protocol in ("query", "rest-xml"):
        return AwsError("AccessDenied", message, status=403)
    if call.protocol == "ec2":
        whole = f"You are not authorized to perform this operation. {message}"
        return AwsError("UnauthorizedOperation", whole, status=403)
    return AwsError("AccessDeniedException", message, status=403 if call.protocol == "rest-json" else 400)


def session_environment(
    role_arn: str, session_name: str, region: str, context: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Environment variables with credentials of a new session of a role, as a service gives them to what it runs.

    Args:
        role_arn: the role; the credentials of one that does not exist are nobody's.
        session_name: what the session is called.
        region: which its process is to call.
        context: condition keys that its calls have, as `lambda:SourceFunctionArn`.
    """
    role = find_role(role_arn)
    session = sessions.begin(
        session_name,
        SESSION_SECONDS,
        role_arn=role_arn,
        role_id="" if role is None else role.id,
        context={key.lower(): value for key, value in (context or {}).items()},
    )
    return {
        "AWS_ACCESS_KEY_ID": session.access_key,
        "AWS_SECRET_ACCESS_KEY": session.secret,
        "AWS_SESSION_TOKEN": session.token,
        "AWS_REGION": region,
    }


def end_session(environment: Mapping[str, str]) -> None:
    """Forgets the session that `session_environment` made, once the process that had it has ended."""
    sessions.end(environment.get("AWS_ACCESS_KEY_ID", ""))
