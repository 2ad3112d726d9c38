"""The tables of https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from whippet.local.monitoring.evaluation import ALARM, INSUFFICIENT_DATA, OK, Rule, evaluate, samples_needed

THREE_OF_THREE = Rule("GreaterThanThreshold", 10.0, 60, evaluation_periods=3, datapoints_to_alarm=3)
NOW = 6000.0
RETAINED = "retained"


def points(pattern: str) -> dict[int, float]:
    """One minute for each character, the last one the latest: 0 is fine, X breaches, - is missing."""
    last = int(NOW) - 60
    values = {"0": 5.0, "X": 50.0}
    return {last - 60 * index: values[one] for index, one in enumerate(reversed(pattern)) if one in values}


@pytest.mark.parametrize(
    ("pattern", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0-X-X", OK, OK, OK, OK),
        ("0----", OK, OK, OK, OK),
        ("-----", INSUFFICIENT_DATA, RETAINED, ALARM, OK),
        ("0XX-X", ALARM, ALARM, ALARM, ALARM),
        ("--X--", ALARM, RETAINED, ALARM, OK),
    ],
)
def test_three_of_three(pattern: str, missing: str, ignore: str, breaching: str, not_breaching: str) -> None:
    expected = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, state in expected.items():
        verdict = evaluate(replace(THREE_OF_THREE, missing=treatment), points(pattern), NOW, RETAINED)
        assert verdict.state == state, treatment


@pytest.mark.parametrize(
    ("pattern", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0-X-X", ALARM, ALARM, ALARM, ALARM),
        ("00X0X", ALARM, ALARM, ALARM, ALARM),
        ("0-X--", OK, OK, ALARM, OK),
        ("----0", OK, OK, ALARM, OK),
        ("---X-", ALARM, RETAINED, ALARM, OK),
    ],
)
def test_two_of_three(pattern: str, missing: str, ignore: str, breaching: str, not_breaching: str) -> None:
    rule = replace(THREE_OF_THREE, datapoints_to_alarm=2)
    expected = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, state in expected.items():
        assert evaluate(replace(rule, missing=treatment), points(pattern), NOW, RETAINED).state == state, treatment


def test_the_first_bad_value_after_a_silence_raises_no_alarm() -> None:
    assert evaluate(THREE_OF_THREE, points("----X"), NOW, OK).state == OK
    assert evaluate(THREE_OF_THREE, points("--XXX"), NOW, OK).state == ALARM


def test_a_period_that_is_not_over_does_not_count() -> None:
    assert evaluate(THREE_OF_THREE, points("00000") | {6000: 50.0}, NOW + 59, OK).state == OK
    one = replace(THREE_OF_THREE, evaluation_periods=1, datapoints_to_alarm=1)
    assert evaluate(one, points("00000") | {6000: 50.0}, NOW + 59, OK).state == OK
    assert evaluate(one, points("00000") | {6000: 50.0}, NOW + 60, OK).state == ALARM


def test_the_reason_is_in_the_words_of_cloudwatch() -> None:
    three = evaluate(THREE_OF_THREE, points("XXX"), NOW, OK)
    assert three.reason == (
        "Threshold Crossed: 3 out of the last 3 datapoints [50.0 (01/01/70 01:39:00), 50.0 (01/01/70 01:38:00), "
        "50.0 (01/01/70 01:37:00)] were greater than the threshold (10.0) (minimum 3 datapoints for OK -> ALARM "
        "transition)."
    )
    one = replace(THREE_OF_THREE, evaluation_periods=1, datapoints_to_alarm=1)
    assert evaluate(one, points("0"), NOW, ALARM).reason == (
        "Threshold Crossed: 1 datapoint [5.0 (01/01/70 01:39:00)] was not greater than the threshold (10.0)."
    )
    assert evaluate(one, {}, NOW, OK).reason == "Insufficient Data: 1 datapoint was unknown."
    silent = evaluate(replace(one, missing="notBreaching"), {}, NOW, ALARM)
    assert silent.reason == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
        "[NonBreaching]."
    )
    silent = evaluate(replace(THREE_OF_THREE, missing="breaching"), {}, NOW, OK)
    assert silent.reason == (
        "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as "
        "[Breaching]."
    )


def test_the_reasons_data_has_the_datapoints() -> None:
    data = json.loads(evaluate(replace(THREE_OF_THREE, statistic="Sum"), points("0X0"), NOW, OK).reason_data or "")
    assert data["recentDatapoints"] == [5.0, 50.0, 5.0]
    assert data["statistic"] == "Sum"
    assert data["queryDate"] == "1970-01-01T01:40:00.000+0000"


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanThreshold", [11.0]),
        ("GreaterThanOrEqualToThreshold", [10.0, 11.0]),
        ("LessThanThreshold", [9.0]),
        ("LessThanOrEqualToThreshold", [9.0, 10.0]),
    ],
)
def test_comparisons(comparison: str, breaching: list[float]) -> None:
    rule = replace(THREE_OF_THREE, comparison=comparison)
    assert [value for value in (9.0, 10.0, 11.0) if rule.breaches(value)] == breaching


@pytest.mark.parametrize(
    ("statistic", "samples"), [("p99", 1000), ("p50", 20), ("p10", 100), ("p100", 0), ("Average", 0)]
)
def test_percentiles_need_samples(statistic: str, samples: int) -> None:
    assert samples_needed(statistic) == pytest.approx(samples)
