from __future__ import annotations

import json
from typing import Any

import pytest

from whippet.local.access.policies import Decision, evaluate, matches, parse_policy

ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/dogs"


def decide(
    *statements: dict[str, Any], action: str = "sagemaker:InvokeEndpoint", resource: str = ENDPOINT, **context: str
) -> Decision:
    policy = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return evaluate([policy], action, resource, context)


def statement(effect: str = "Allow", **members: Any) -> dict[str, Any]:
    named = members.keys()
    return {
        "Effect": effect,
        **({} if "NotAction" in named else {"Action": "sagemaker:InvokeEndpoint"}),
        **({} if "NotResource" in named else {"Resource": "*"}),
        **members,
    }


def test_nothing_is_allowed_by_default() -> None:
    assert decide() is Decision.NOT_ALLOWED
    assert evaluate([], "s3:GetObject", "*", {}) is Decision.NOT_ALLOWED


def test_an_explicit_deny_wins_over_an_allow_in_either_order() -> None:
    assert decide(statement(), statement("Deny")) is Decision.EXPLICITLY_DENIED
    assert decide(statement("Deny"), statement()) is Decision.EXPLICITLY_DENIED


def test_a_deny_in_one_policy_wins_over_an_allow_in_another() -> None:
    policies = [parse_policy(json.dumps({"Statement": statement(effect)})) for effect in ("Allow", "Deny")]
    assert evaluate(policies, "sagemaker:InvokeEndpoint", ENDPOINT, {}) is Decision.EXPLICITLY_DENIED


@pytest.mark.parametrize(
    ("pattern", "is_allowed"),
    [
        ("sagemaker:InvokeEndpoint", True),
        ("SageMaker:invokeendpoint", True),
        ("sagemaker:Invoke*", True),
        ("sagemaker:InvokeEndpoin?", True),
        ("*", True),
        ("sagemaker:*", True),
        ("sagemaker:InvokeEndpointAsync", False),
        ("s3:*", False),
        ("sagemaker:InvokeEndpoint?", False),
    ],
)
def test_actions_match_by_wildcard_and_without_regard_to_case(pattern: str, is_allowed: bool) -> None:
    assert (decide(statement(Action=pattern)) is Decision.ALLOWED) == is_allowed


@pytest.mark.parametrize(
    ("pattern", "is_allowed"),
    [
        (ENDPOINT, True),
        ("arn:aws:sagemaker:*:*:endpoint/*", True),
        ([f"{ENDPOINT}-2", ENDPOINT], True),
        (ENDPOINT.upper(), False),
        (f"{ENDPOINT}-2", False),
        (f"{ENDPOINT}?", False),
    ],
)
def test_resources_match_by_wildcard_and_case(pattern: str | list[str], is_allowed: bool) -> None:
    assert (decide(statement(Resource=pattern)) is Decision.ALLOWED) == is_allowed


def test_an_action_on_no_resource_in_particular_needs_all_resources() -> None:
    assert decide(statement(Resource=ENDPOINT), resource="*") is Decision.NOT_ALLOWED
    assert decide(statement(Resource="*"), resource="*") is Decision.ALLOWED


def test_not_action_and_not_resource_speak_of_all_others() -> None:
    assert decide(statement(NotAction="s3:*")) is Decision.ALLOWED
    assert decide(statement(NotAction="sagemaker:*")) is Decision.NOT_ALLOWED
    assert decide(statement("Deny", NotResource=ENDPOINT), statement()) is Decision.ALLOWED
    assert decide(statement("Deny", NotResource="arn:aws:s3:::*"), statement()) is Decision.EXPLICITLY_DENIED


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": ["us-east-1", "eu-west-1"]}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, False),
        ({"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringNotEquals": {"aws:RequestedRegion": ["us-east-1", "eu-west-1"]}}, False),
        ({"StringLike": {"aws:RequestedRegion": "eu-*"}}, True),
        ({"StringEqualsIgnoreCase": {"aws:RequestedRegion": "EU-WEST-1"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/team": "dogs"}}, False),
        ({"StringEqualsIfExists": {"aws:PrincipalTag/team": "dogs"}}, True),
        ({"StringNotEquals": {"aws:PrincipalTag/team": "dogs"}}, True),
        ({"Null": {"aws:PrincipalTag/team": "true"}}, True),
        ({"Null": {"aws:RequestedRegion": "true"}}, False),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}, "Bool": {"aws:SecureTransport": "false"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    context = {"aws:requestedregion": "eu-west-1", "aws:securetransport": "true"}
    decision = decide(statement(Condition=condition), **context)
    assert (decision is Decision.ALLOWED) == holds


def test_a_condition_that_is_not_understood_never_opens_anything() -> None:
    unknown = {"NumericLessThen": {"s3:max-keys": "10"}}
    assert decide(statement(Condition=unknown)) is Decision.NOT_ALLOWED
    assert decide(statement(), statement("Deny", Condition=unknown)) is Decision.EXPLICITLY_DENIED


def test_what_is_no_policy_is_refused() -> None:
    for document in ("[]", "{}", '{"Statement": [{"Effect": "Allow"}]}', "not json"):
        with pytest.raises(ValueError):
            parse_policy(document)


def test_regular_expression_characters_are_literal() -> None:
    assert not matches("a.c", "abc")
    assert matches("a.c", "a.c")
    assert matches("*", "a\nb")
