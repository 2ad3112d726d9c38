"""Reads policies and says what they say about a request.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from whippet.local.access.conditions import Condition
from whippet.local.access.patterns import Context, matches, resolve, resource_matches, without_variables

#: The version of the language that has variables.
CURRENT_VERSION = "2012-10-17"


class Decision(Enum):
    """What policies say about an action."""

    ALLOWED = "allowed"
    EXPLICITLY_DENIED = "explicitly denied"
    NOT_ALLOWED = "not allowed"


@dataclass(frozen=True)
class Statement:
    """One statement of a policy.

    Attributes:
        allows: whether its effect is Allow; else it is Deny.
        actions: patterns of actions, in lower case.
        negates_actions: whether it names its actions with NotAction.
        resources: patterns of ARNs; in a trust policy, which names none, anything.
        negates_resources: whether it names its resources with NotResource.
        conditions: all of which must hold.
        principals: pairs of a kind, such as `AWS`, and an ARN, a name, an account or `*`; None in the policies of
            identities, which name nobody.
        negates_principals: whether it names its principals with NotPrincipal.
        sid: what the policy calls it.
    """

    allows: bool
    actions: tuple[str, ...]
    negates_actions: bool
    resources: tuple[str, ...]
    negates_resources: bool
    conditions: tuple[Condition, ...]
    principals: tuple[tuple[str, str], ...] | None = None
    negates_principals: bool = False
    sid: str = ""

    def applies(self, action: str, resource: str, context: Context) -> bool:
        """Whether the statement speaks about this action on this resource, whoever asks for it."""
        if not self.names_action(action):
            return False
        if any(self._names(pattern, resource, context) for pattern in self.resources) == self.negates_resources:
            return False
        # A condition that is not understood must not let anything through, and must not keep a denial from it.
        return all(not self.allows if holds is None else holds for holds in self._held(context))

    def names_action(self, action: str) -> bool:
        """Whether the statement speaks about this action, on whatever resource and condition."""
        return any(matches(pattern, action.lower()) for pattern in self.actions) != self.negates_actions

    def _held(self, context: Context) -> Iterable[bool | None]:
        return (condition.holds(context) for condition in self.conditions)

    def _names(self, pattern: str, resource: str, context: Context) -> bool:
        resolved = resolve(pattern, context)
        return resolved is not None and resource_matches(resolved, resource)


Policy = tuple[Statement, ...]

ALLOW_ALL: Policy = (Statement(True, ("*",), False, ("*",), False, ()),)


def evaluate(policies: Iterable[Policy], action: str, resource: str, context: Context) -> Decision:
    """What policies say together: an explicit deny wins, then an allow, else nothing is allowed.

    Args:
        policies: of one kind, as those of an identity.
        action: as in `sagemaker:InvokeEndpoint`.
        resource: an ARN, or `*` for an action that concerns no resource in particular.
        context: condition keys, in lower case, and their values.
    """
    allows = [
        statement.allows for policy in policies for statement in policy if statement.applies(action, resource, context)
    ]
    if not all(allows):
        return Decision.EXPLICITLY_DENIED
    return Decision.ALLOWED if allows else Decision.NOT_ALLOWED


@lru_cache(maxsize=1024)
def parse_policy(document: str) -> Policy:
    """Parses a policy document; the same text is parsed once.

    Raises:
        ValueError: it is not a policy.
    """
    try:
        read = json.loads(document)
        texts = _texts if read.get("Version") == CURRENT_VERSION else _texts_without_variables
        return tuple(_parse_statement(statement, texts) for statement in _listed(read["Statement"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an IAM policy: {error}") from error


def _parse_statement(statement: Mapping[str, Any], texts: Callable[[Any], list[str]]) -> Statement:
    negates_actions, negates_resources = "NotAction" in statement, "NotResource" in statement
    negates_principals = "NotPrincipal" in statement
    principals = statement.get("NotPrincipal" if negates_principals else "Principal")
    resources = statement.get("NotResource" if negates_resources else "Resource")
    if resources is None and principals is None:
        raise KeyError("Resource")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise ValueError("an effect is either Allow or Deny")
    return Statement(
        allows=statement["Effect"] == "Allow",
        actions=tuple(action.lower() for action in _listed(statement["NotAction" if negates_actions else "Action"])),
        negates_actions=negates_actions,
        resources=tuple(texts(resources or "*")),
        negates_resources=negates_resources,
        conditions=tuple(
            Condition(operator, key.lower(), tuple(texts(values)))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ),
        principals=None if principals is None else tuple(_parse_principals(principals)),
        negates_principals=negates_principals,
        sid=str(statement.get("Sid", "")),
    )


def _parse_principals(principals: Any) -> Iterable[tuple[str, str]]:
    if isinstance(principals, str):
        return [("AWS", principals)]
    return [(kind, name) for kind, names in principals.items() for name in _texts(names)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> list[str]:
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in _listed(value)]


def _texts_without_variables(value: Any) -> list[str]:
    return [without_variables(text) for text in _texts(value)]
