from __future__ import annotations

import pytest

from whippet.local.monitoring.expressions import ExpressionError, Points, Scope, alarms_in, evaluate, holds

M1: Points = {0: 1.0, 60: 2.0, 120: 0.0}
M2: Points = {0: 4.0, 120: 5.0}
SCOPE = Scope({"m1": M1, "m2": M2, "e0": {0: 100.0}}, ("m1", "m2"), range(0, 240, 60), 60)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1", M1),
        ("m1 + m2", {0: 5.0, 120: 5.0}),
        ("m2 / m1 * 100", {0: 400.0}),
        ("-m1 + 1", {0: 0.0, 60: -1.0, 120: 1.0}),
        ("m1 ^ 2", {0: 1.0, 60: 4.0, 120: 0.0}),
        ("SUM([m1, m2])", {0: 5.0, 60: 2.0, 120: 5.0}),
        ("MAX(METRICS())", {0: 4.0, 60: 2.0, 120: 5.0}),
        ("AVG([m1, m2])", {0: 2.5, 60: 2.0, 120: 2.5}),
        ("m1 - MIN(m2)", {0: -3.0, 60: -2.0, 120: -4.0}),
        ("FILL(m2, 0)", {0: 4.0, 60: 0.0, 120: 5.0, 180: 0.0}),
        ("m2 / PERIOD(m2) * 60", {0: 4.0, 120: 5.0}),
        ("e0 + m1", {0: 101.0}),
        ("IF(m1 > 0, m1, 9)", {0: 1.0, 60: 2.0, 120: 9.0}),
        ("IF(m1 >= 1, m2)", {0: 4.0}),
        ("CEIL(m1 / 2)", {0: 1.0, 60: 1.0, 120: 0.0}),
        ("SUM([m1 * 1e308, m1 * 1e308])", {120: 0.0}),
        ("m1 + SUM(FILL(m2 - m2 + 1e308, 1e308))", {}),
    ],
)
def test_metric_math(expression: str, expected: Points) -> None:
    assert evaluate(expression, SCOPE) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "m3",
        "m1 +",
        "1 + 1",
        "__import__('os')",
        "m1.real",
        "[m1, m2]",
        "SUM(m1, m2)",
        "(1).__class__",
        "m1 if m2 else m1",
        "-" * 9000 + "m1",
        "(" * 5000 + "m1" + ")" * 5000,
        "m1 + " * 3000 + "m1",
        "m1 + " + "9" * 4000,
        "m1\0",
    ],
)
def test_what_is_no_metric_math_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, SCOPE)


STATES = {"one": "ALARM", "two": "OK", "three (new)": "INSUFFICIENT_DATA"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ALARM(one)", True),
        ('ALARM("two")', False),
        ('OK(two) AND INSUFFICIENT_DATA("three (new)")', True),
        ("NOT (ALARM(one) OR ALARM(two))", False),
        ("ALARM(two) OR OK(two) AND NOT FALSE", True),
        ("ALARM(unknown)", False),
        ("TRUE", True),
    ],
)
def test_rules_of_composite_alarms(rule: str, expected: bool) -> None:
    assert holds(rule, STATES.get) is expected


def test_the_alarms_of_a_rule() -> None:
    rule = 'ALARM(one) OR NOT OK("two") AND ALARM("arn:aws:cloudwatch:us-east-1:123456789012:alarm:three (new)")'
    assert alarms_in(rule) == {"one", "two", "three (new)"}


@pytest.mark.parametrize(
    "rule",
    ["", "ALARM(one) two", "AND ALARM(one)", "__import__('os')", "ALARM(one", "TRUE FALSE", "NOT " * 2500 + "TRUE"],
)
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(ExpressionError):
        holds(rule, STATES.get)
