from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whippet.local.access.actions import Need
from whippet.local.access.patterns import matches
from whippet.local.access.policies import Decision, Policy, evaluate, parse_policy
from whippet.local.access.principals import Principal

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


def test_an_incomplete_arn_leaves_its_missing_fields_open() -> None:
    assert decide(statement(Resource="arn:aws:sagemaker")) is Decision.ALLOWED
    assert decide(statement(Resource="arn:aws:sagemaker:us-east-1:*")) is Decision.ALLOWED
    assert decide(statement(Resource="arn:aws:s3")) is Decision.NOT_ALLOWED


def test_what_a_variable_brings_is_no_wildcard() -> None:
    own = statement(Action="s3:GetObject", Resource="arn:aws:s3:::photos/${aws:username}/*")
    arn = "arn:aws:s3:::photos/{}/a.jpg".format
    decisions = {
        (who, whose): decide(own, action="s3:GetObject", resource=arn(whose), **{"aws:username": who})
        for who in ("ann", "*", "a?n", "${*}")
        for whose in ("ann", "bob", "*", "a?n", "${*}")
    }
    assert {pair for pair, decision in decisions.items() if decision is Decision.ALLOWED} == {
        (name, name) for name in ("ann", "*", "a?n", "${*}")
    }


def test_variables_have_defaults_and_names_of_characters() -> None:
    team = statement(Resource="arn:aws:sagemaker:*:*:endpoint/${aws:PrincipalTag/team, 'cats'}")
    dogs, cats = (f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}" for name in ("dogs", "cats"))
    assert decide(team, resource=dogs, **{"aws:principaltag/team": "dogs"}) is Decision.ALLOWED
    assert decide(team, resource=cats, **{"aws:principaltag/team": "dogs"}) is Decision.NOT_ALLOWED
    assert decide(team, resource=cats) is Decision.ALLOWED
    star = statement(Resource="arn:aws:sagemaker:*:*:endpoint/${*}")
    assert decide(star, resource=cats) is Decision.NOT_ALLOWED
    assert decide(star, resource=cats.replace("cats", "*")) is Decision.ALLOWED


def test_a_variable_without_a_value_names_nothing() -> None:
    nobodys = statement(Resource="arn:aws:sagemaker:*:*:endpoint/${aws:username}")
    assert decide(nobodys, resource="arn:aws:sagemaker:us-east-1:123456789012:endpoint/") is Decision.NOT_ALLOWED
    same = {"StringEquals": {"aws:PrincipalTag/team": "${aws:ResourceTag/team}"}}
    assert decide(statement(Condition=same), **{"aws:principaltag/team": "dogs"}) is Decision.NOT_ALLOWED


def test_the_first_version_of_the_language_has_no_variables() -> None:
    document = {"Version": "2008-10-17", "Statement": [statement(Resource="${aws:username}")]}
    policy = parse_policy(json.dumps(document))
    context = {"aws:username": "ann"}
    assert evaluate([policy], "sagemaker:InvokeEndpoint", "ann", context) is Decision.NOT_ALLOWED
    assert evaluate([policy], "sagemaker:InvokeEndpoint", "${aws:username}", context) is Decision.ALLOWED


#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
OPERATORS = [
    ("NumericEquals", "10", "10.0", True),
    ("NumericNotEquals", "10", "11", True),
    ("NumericLessThan", "10", "9.5", True),
    ("NumericLessThan", "10", "10", False),
    ("NumericLessThanEquals", "10", "10", True),
    ("NumericGreaterThan", "10", "100", True),
    ("NumericGreaterThanEquals", "10", "9", False),
    ("NumericEquals", "10", "ten", False),
    ("NumericNotEquals", "10", "ten", True),
    ("DateGreaterThan", "2020-01-01T00:00:01Z", "2020-01-01T00:00:02Z", True),
    ("DateGreaterThan", "2020-01-01T00:00:01Z", "2020-01-01T00:00:01Z", False),
    ("DateGreaterThanEquals", "2020-01-01", "2020-01-01T00:00:00Z", True),
    ("DateLessThan", "1577836800", "2019-12-31T23:59:59Z", True),
    ("DateLessThanEquals", "2020-01-01T01:00:00+01:00", "1577836800", True),
    ("DateEquals", "2020-01-01T00:00:00Z", "1577836800", True),
    ("DateNotEquals", "2020-01-01T00:00:00Z", "1577836801", True),
    ("IpAddress", "203.0.113.0/24", "203.0.113.7", True),
    ("IpAddress", "203.0.113.0/24", "203.0.114.7", False),
    ("IpAddress", "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678::1", True),
    ("IpAddress", "203.0.113.0/24", "not an address", False),
    ("NotIpAddress", "203.0.113.0/24", "203.0.114.7", True),
    ("BinaryEquals", "QmluYXJ5VmFsdWU=", "QmluYXJ5VmFsdWU=", True),
    ("Bool", "true", "True", True),
    ("ArnLike", "arn:aws:iam::*:role/a*", "arn:aws:iam::123456789012:role/admin/x", True),
    ("ArnEquals", "arn:aws:iam::*:role/a*", "arn:aws:iam::123456789012:role/admin", True),
    ("ArnLike", "arn:aws:*:role/a", "arn:aws:iam::123456789012:role/a", False),
    ("ArnNotLike", "arn:aws:iam::*:role/a*", "arn:aws:iam::123456789012:role/other", True),
    ("StringNotLike", "a*", "bc", True),
    ("StringNotEqualsIgnoreCase", "ABC", "abc", False),
    ("StringEquals", "a*", "ab", False),
    ("StringEquals", "a*", "a*", True),
]


@pytest.mark.parametrize(("operator", "value", "actual", "holds"), OPERATORS)
def test_operators(operator: str, value: str, actual: str, holds: bool) -> None:
    decision = decide(statement(Condition={operator: {"aws:Key": value}}), **{"aws:key": actual})
    assert (decision is Decision.ALLOWED) == holds


#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
SETS: list[tuple[str, list[str] | None, bool]] = [
    ("ForAllValues:StringEquals", ["a"], True),
    ("ForAllValues:StringEquals", ["a", "b"], True),
    ("ForAllValues:StringEquals", ["a", "c"], False),
    ("ForAllValues:StringEquals", [], True),
    ("ForAllValues:StringEquals", None, True),
    ("ForAnyValue:StringEquals", ["a", "c"], True),
    ("ForAnyValue:StringEquals", ["c"], False),
    ("ForAnyValue:StringEquals", [], False),
    ("ForAnyValue:StringEquals", None, False),
    ("ForAllValues:StringNotEquals", ["c"], True),
    ("ForAllValues:StringNotEquals", ["a", "c"], False),
    ("ForAnyValue:StringNotEquals", ["a", "c"], True),
    ("ForAnyValue:StringNotEquals", ["a"], False),
    ("ForAnyValue:StringEqualsIfExists", None, False),
    ("StringEquals", ["c", "a"], True),
    ("StringNotEquals", ["c", "a"], False),
]


@pytest.mark.parametrize(("operator", "actual", "holds"), SETS)
def test_keys_with_several_values(operator: str, actual: list[str] | None, holds: bool) -> None:
    context = {} if actual is None else {"aws:tagkeys": actual}
    decision = decide(statement(Condition={operator: {"aws:TagKeys": ["a", "b"]}}), **context)  # type: ignore[arg-type]
    assert (decision is Decision.ALLOWED) == holds


# Properties


def reference(pattern: str, value: str) -> bool:
    """What wildcards mean, in the plainest way to say it."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(reference(pattern[1:], value[end:]) for end in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and reference(pattern[1:], value[1:])


@given(st.text("ab*?:", max_size=6), st.text("ab*?:\n", max_size=7))
def test_wildcards_mean_what_they_should(pattern: str, value: str) -> None:
    assert matches(pattern, value) == reference(pattern, value)


def test_many_wildcards_take_no_time() -> None:
    assert not matches("*a" * 50 + "b", "a" * 1000)  # in which a plain regular expression would look for years


ACTIONS, NAMES = ["s3:GetObject", "s3:PutObject", "sagemaker:InvokeEndpoint"], ["a", "b"]
conditions = st.sampled_from(
    [
        {},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}},
        {"Null": {"aws:username": "true"}},
    ]
)


@st.composite
def statements(draw: st.DrawFn, effect: str | None = None) -> dict[str, Any]:
    action, resource = draw(st.sampled_from([*ACTIONS, "s3:*", "*"])), draw(st.sampled_from([*NAMES, "*", "?"]))
    return {
        "Effect": effect or draw(st.sampled_from(["Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): action,
        draw(st.sampled_from(["Resource", "NotResource"])): resource,
        "Condition": draw(conditions),
    }


def policy(listed: list[dict[str, Any]]) -> Policy:
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": listed}))


questions = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(NAMES))
contexts = st.sampled_from([{}, {"aws:securetransport": "true", "aws:requestedregion": "eu-west-1"}])


@given(st.lists(statements(), max_size=4), statements("Deny"), questions, contexts)
def test_a_deny_that_applies_always_wins(
    others: list[dict[str, Any]], deny: dict[str, Any], question: tuple[str, str], context: dict[str, str]
) -> None:
    [parsed] = policy([deny])
    decision = evaluate([policy([*others, deny])], *question, context)
    assert (decision is Decision.EXPLICITLY_DENIED) >= parsed.applies(*question, context)


@given(st.lists(statements(), max_size=4), statements("Allow"), questions, contexts)
def test_one_more_allow_never_takes_anything_away(
    others: list[dict[str, Any]], allow: dict[str, Any], question: tuple[str, str], context: dict[str, str]
) -> None:
    before, after = (evaluate([policy(listed)], *question, context) for listed in (others, [*others, allow]))
    assert before is not Decision.ALLOWED or after is Decision.ALLOWED
    assert (before is Decision.EXPLICITLY_DENIED) == (after is Decision.EXPLICITLY_DENIED)


@given(st.lists(statements(), max_size=3), st.lists(statements(), max_size=3), questions, contexts)
def test_a_boundary_and_a_session_policy_only_restrict(
    own: list[dict[str, Any]], limit: list[dict[str, Any]], question: tuple[str, str], context: dict[str, str]
) -> None:
    need = Need(*question)
    free = Principal("arn", (policy(own),))
    for limited in (replace(free, boundary=policy(limit)), replace(free, session_policies=(policy(limit),))):
        both = (
            free.decide(need, context) is Decision.ALLOWED
            and Principal("arn", (policy(limit),)).decide(need, context) is Decision.ALLOWED
        )
        assert (limited.decide(need, context) is Decision.ALLOWED) == both


@given(st.lists(statements(), max_size=3), st.lists(statements(), max_size=3), questions, contexts)
def test_the_order_of_policies_and_statements_does_not_matter(
    first: list[dict[str, Any]], second: list[dict[str, Any]], question: tuple[str, str], context: dict[str, str]
) -> None:
    decisions = {
        evaluate([policy(first), policy(second)], *question, context),
        evaluate([policy(second), policy(first)], *question, context),
        evaluate([policy([*reversed(first), *second])], *question, context),
    }
    assert len(decisions) == 1
