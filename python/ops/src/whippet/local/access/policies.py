"""Evaluates IAM policies: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any


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
        resources: patterns of ARNs.
        negates_resources: whether it names its resources with NotResource.
        conditions: operator, context key in lower case, and the values of which one must match.
    """

    allows: bool
    actions: tuple[str, ...]
    negates_actions: bool
    resources: tuple[str, ...]
    negates_resources: bool
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    def applies(self, action: str, resource: str, context: Mapping[str, str]) -> bool:
        """Whether the statement speaks about this action on this resource."""
        if any(matches(pattern, action.lower()) for pattern in self.actions) == self.negates_actions:
            return False
        if any(matches(pattern, resource) for pattern in self.resources) == self.negates_resources:
            return False
        return all(self._holds(*condition, context) for condition in self.conditions)

    def _holds(self, operator: str, key: str, values: tuple[str, ...], context: Mapping[str, str]) -> bool:
        base = operator.removesuffix("IfExists")
        actual = context.get(key)
        if base == "Null":
            return any((actual is None) == (value.lower() == "true") for value in values)
        test = _OPERATORS.get(base)
        if test is None:
            # Not understood: the statement must not let anything through, and must not stop denying.
            return not self.allows
        negated = "Not" in base
        if actual is None:
            return negated or operator != base
        return any(test(actual, value) for value in values) != negated


Policy = tuple[Statement, ...]

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda actual, value: actual == value,
    "StringNotEquals": lambda actual, value: actual == value,
    "StringEqualsIgnoreCase": lambda actual, value: actual.lower() == value.lower(),
    "StringNotEqualsIgnoreCase": lambda actual, value: actual.lower() == value.lower(),
    "StringLike": lambda actual, value: matches(value, actual),
    "StringNotLike": lambda actual, value: matches(value, actual),
    "ArnEquals": lambda actual, value: matches(value, actual),
    "ArnLike": lambda actual, value: matches(value, actual),
    "ArnNotEquals": lambda actual, value: matches(value, actual),
    "ArnNotLike": lambda actual, value: matches(value, actual),
    "Bool": lambda actual, value: actual.lower() == value.lower(),
}


def evaluate(policies: Iterable[Policy], action: str, resource: str, context: Mapping[str, str]) -> Decision:
    """What a caller's policies say: an explicit deny wins, then an allow, else nothing is allowed.

    Args:
        policies: the caller's policies.
        action: as in `sagemaker:InvokeEndpoint`.
        resource: an ARN, or `*` for an action that concerns no resource in particular.
        context: condition keys, in lower case, and their values.
    """
    applying = [
        statement for policy in policies for statement in policy if statement.applies(action, resource, context)
    ]
    if not all(statement.allows for statement in applying):
        return Decision.EXPLICITLY_DENIED
    return Decision.ALLOWED if applying else Decision.NOT_ALLOWED


@lru_cache(maxsize=1024)
def parse_policy(document: str) -> Policy:
    """Parses a policy document; the same text is parsed once.

    Raises:
        ValueError: it is not a policy.
    """
    try:
        statements = _listed(json.loads(document)["Statement"])
        return tuple(_parse_statement(statement) for statement in statements)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an IAM policy: {error}") from error


def _parse_statement(statement: Mapping[str, Any]) -> Statement:
    negates_actions, negates_resources = "NotAction" in statement, "NotResource" in statement
    return Statement(
        allows=statement["Effect"] == "Allow",
        actions=tuple(action.lower() for action in _listed(statement["NotAction" if negates_actions else "Action"])),
        negates_actions=negates_actions,
        resources=tuple(_listed(statement["NotResource" if negates_resources else "Resource"])),
        negates_resources=negates_resources,
        conditions=tuple(
            (operator, key.lower(), tuple(_text(value) for value in _listed(values)))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def matches(pattern: str, value: str) -> bool:
    """Whether a value fits a pattern in which `*` stands for any characters and `?` for one."""
    return _compiled(pattern).fullmatch(value) is not None
