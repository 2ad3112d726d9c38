from __future__ import annotations

import pytest

from whippet.local.jobs.metrics import MetricReader


def read(regex: str, *lines: str) -> list[float]:
    return [value for _, value in MetricReader([{"Name": "metric", "Regex": regex}]).read(lines)]


def test_every_match_is_a_value() -> None:
    assert read(r"loss: ([\d.e+-]+)", "loss: 0.5", "nothing", "loss: 1e-3, loss: -2") == [0.5, 0.001, -2.0]


@pytest.mark.parametrize("text", ["much", "nan", "inf", ""])
def test_what_is_no_number_is_no_value(text: str) -> None:
    assert read(r"loss: (\S*)", f"loss: {text}") == []


@pytest.mark.parametrize("regex", ["(", "no group"])
def test_a_regex_must_capture_a_value(regex: str) -> None:
    with pytest.raises(ValueError, match="metric 'metric'"):
        read(regex)
