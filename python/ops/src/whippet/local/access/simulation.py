"""IAM's policy simulator, answered by what decides about calls.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision, Policy, parse_policy
from whippet.local.access.principals import ROOT_ARN, Principal, iam, role_principal, user_principal
from whippet.local.access.resource_policies import is_decisive
from whippet.local.calls import AwsError, Call, answer
from whippet.local.services import Forward, Handlers

_DECISIONS = {
    Decision.ALLOWED: "allowed",
    Decision.EXPLICITLY_DENIED: "explicitDeny",
    Decision.NOT_ALLOWED: "implicitDeny",
}


def simulate_principal_policy(call: Call, forward: Forward) -> Response:
    """SimulatePrincipalPolicy: what a user, a group or a role may do."""
    principal = _principal(call.params["PolicySourceArn"])
    added = tuple(map(_parsed, call.params.get("PolicyInputList") or ()))
    return _simulated(call, replace(principal, policies=(*principal.policies, *added)))


def simulate_custom_policy(call: Call, forward: Forward) -> Response:
    """SimulateCustomPolicy: what somebody could do who had these policies."""
    caller = call.params.get("CallerArn", ROOT_ARN)
    return _simulated(call, Principal(caller, tuple(map(_parsed, call.params["PolicyInputList"]))))


def _principal(arn: str) -> Principal:
    backend = iam()
    if any(role.arn == arn for role in backend.roles.values()):
        return role_principal(arn)
    for user in backend.users.values():
        if user.arn == arn:
            return user_principal(user)
    for group in backend.groups.values():
        if group.arn == arn:
            documents = [*group.policies.values()]
            for managed in group.managed_policies.values():
                documents += [version.document for version in managed.versions if version.is_default]
            return Principal(arn, tuple(map(parse_policy, documents)))
    raise AwsError("NoSuchEntity", f"The entity {arn} cannot be found.", status=404)


def _parsed(document: str) -> Policy:
    try:
        return parse_policy(document)
    except ValueError as error:
        raise AwsError("InvalidInput", f"Invalid Input: {error}") from None


def _simulated(call: Call, principal: Principal) -> Response:
    params = call.params
    if boundaries := params.get("PermissionsBoundaryPolicyInputList"):
        principal = replace(principal, boundary=_parsed(boundaries[0]))
    resource_policy = _parsed(params["ResourcePolicy"]) if params.get("ResourcePolicy") else None
    context = {
        entry["ContextKeyName"].lower(): _context_value(entry)
        for entry in params.get("ContextEntries") or ()
        if entry.get("ContextKeyValues")
    }
    results = [
        _result(principal, Need(action, resource), context, resource_policy)
        for action in params["ActionNames"]
        for resource in params.get("ResourceArns") or ["*"]
    ]
    return answer(call, {"EvaluationResults": results, "IsTruncated": False})


def _context_value(entry: dict[str, Any]) -> str | list[str]:
    values = [str(value) for value in entry["ContextKeyValues"]]
    return values if entry.get("ContextKeyType", "").endswith("List") else values[0]


def _result(
    principal: Principal, need: Need, context: dict[str, Any], resource_policy: Policy | None
) -> dict[str, Any]:
    decision = principal.judge(need, context, resource_policy, is_decisive(need.resource)).decision
    result: dict[str, Any] = {
        "EvalActionName": need.action,
        "EvalResourceName": need.resource,
        "EvalDecision": _DECISIONS[decision],
        "MatchedStatements": [],
        "MissingContextValues": sorted(_missing(principal, need, context)),
    }
    if principal.boundary is not None:
        said = Principal(principal.arn, (principal.boundary,), context=principal.context).judge(need, context)
        is_allowed = said.decision is Decision.ALLOWED
        result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": is_allowed}
    return result


def _missing(principal: Principal, need: Need, context: dict[str, Any]) -> Iterator[str]:
    """The condition keys that the statements on an action ask for, and nobody has given."""
    known = context.keys() | principal.context.keys()
    for policy in principal.policies:
        for statement in policy:
            if statement.names_action(need.action):
                yield from {condition.key for condition in statement.conditions} - known


HANDLERS: Handlers = {
    ("iam", "SimulateCustomPolicy"): simulate_custom_policy,
    ("iam", "SimulatePrincipalPolicy"): simulate_principal_policy,
}
