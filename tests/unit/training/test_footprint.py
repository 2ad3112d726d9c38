from __future__ import annotations

import datetime
import importlib.resources
import json

import pytest

from whippet_training.footprint import measure


def test_a_job_on_an_instance_costs_its_price_and_the_electricity_of_its_region() -> None:
    job = measure(3600, 64, {"SM_CURRENT_INSTANCE_TYPE": "ml.m5.xlarge", "AWS_REGION": "us-east-1"})
    assert (job.instance, job.vcpus) == ("ml.m5.xlarge", 4)
    assert job.dollars == pytest.approx(0.23)
    assert job.kilowatt_hours == pytest.approx(4 * 3.5 * 1.135 / 1000)
    assert job.grams == pytest.approx(4 * 3.5 * 1.135 / 1000 * 384)
    assert {"price of ml.m5.xlarge"} < {factor.name for factor in job.factors}


def test_a_gpu_draws_power_too() -> None:
    without, with_gpu = (
        measure(60, 4, {"SM_CURRENT_INSTANCE_TYPE": name}).grams for name in ("ml.m5.xlarge", "ml.g4dn.xlarge")
    )
    assert with_gpu == pytest.approx(without * (4 * 3.5 + 71) / (4 * 3.5))


@pytest.mark.parametrize("environment", [{}, {"WHIPPET_INSTANCE_TYPE": "ml.p9.huge"}])
def test_what_is_not_known_is_said_and_not_guessed(environment: dict[str, str]) -> None:
    laptop = measure(100, 8, {**environment, "AWS_REGION": "us-east-1"})
    assert laptop.dollars is None
    assert laptop.instance is None
    assert laptop.grams == pytest.approx(8 * 3.5 * 100 / 3_600_000 * 473)
    assert any("not known" in note or "no known instance" in note for note in laptop.notes)


def test_every_figure_has_a_source_and_a_date() -> None:
    data = json.loads(importlib.resources.files("whippet_training").joinpath("footprint.json").read_text())
    grids = data.pop("grams_per_kilowatt_hour").values()
    entries = [*data.pop("instances").values(), *grids, *data.values()]
    assert len(entries) == 10
    for entry in entries:
        assert entry["source"]
        assert datetime.date.fromisoformat(entry["date"]) <= datetime.date(2026, 11, 30)
