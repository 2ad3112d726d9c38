"""What a training costs: seconds, dollars and grams of CO2. Prices and factors are in footprint.json, with sources."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

INSTANCE_VARIABLES = ("SM_CURRENT_INSTANCE_TYPE", "WHIPPET_INSTANCE_TYPE")
"""Name the instance: SageMaker's training toolkit sets the first, and a person the second."""

_COMPARED = "ml.m5.xlarge"
"""The instance whose price is told where the machine's own is not known."""


@dataclass(frozen=True)
class Factor:
    """A number that the footprint rests on.

    Attributes:
        name: What it is.
        value: With its unit.
        source: Where it is from.
        date: Of the source, or when it was read.
    """

    name: str
    value: str
    source: str
    date: str


@dataclass(frozen=True)
class Footprint:
    """What a training cost.

    Attributes:
        seconds: From start to end.
        instance: The instance's type; None if it is not one whose price is known.
        vcpus: Of the machine.
        dollars: None where the price is not known.
        kilowatt_hours: Estimated, all vCPUs under full load: an upper bound.
        grams: Of CO2 equivalent, estimated from the energy.
        factors: What the estimates rest on.
        notes: What is not known or not counted, one sentence each.
    """

    seconds: float
    instance: str | None
    vcpus: int
    dollars: float | None
    kilowatt_hours: float
    grams: float
    factors: tuple[Factor, ...]
    notes: tuple[str, ...]


def measure(seconds: float, vcpus: int, environment: Mapping[str, str] | None = None) -> Footprint:
    """Estimates what a training of this length cost on this machine.

    Args:
        seconds: The training took.
        vcpus: Of the machine.
        environment: Names the instance type and the region; the process's by default.
    """
    given = os.environ if environment is None else environment
    data = _data()
    named = next((given[name] for name in INSTANCE_VARIABLES if given.get(name)), None)
    instance = data["instances"].get(named)
    vcpus = instance["vcpus"] if instance else vcpus
    region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or ""
    grid = data["grams_per_kilowatt_hour"]["us" if instance and region.startswith("us-") else "world"]
    gpu = instance.get("gpu_watts", 0) if instance else 0
    cooling = data["power_usage_effectiveness"]["value"] if instance else 1.0
    energy = (vcpus * data["watts_per_vcpu"]["value"] + gpu) * cooling * seconds / 3_600_000
    factors = [_factor("power of a vCPU", f"{data['watts_per_vcpu']['value']} W", data["watts_per_vcpu"])]
    notes = ["All vCPUs are taken to be under full load, so energy and grams are upper bounds."]
    if instance:
        price = f"${instance['dollars_per_hour']} per hour"
        factors.append(Factor(f"price of {named}", price, instance["source"], instance["date"]))
        factors.append(_factor("power usage effectiveness", f"{cooling}", data["power_usage_effectiveness"]))
    else:
        compared = data["instances"][_COMPARED]
        dollars = compared["dollars_per_hour"] * seconds / 3600
        which = f"the price of {named} is not known" if named else "this machine is no known instance"
        notes.append(
            f"Dollars: {which}. The same seconds of {_COMPARED}, were it as fast, "
            f"would cost ${dollars:.4f} ({compared['source']}, {compared['date']})."
        )
        notes.append("Not counted: cooling and power supply, as no data centre is known; a GPU, if there is one.")
    factors.append(_factor("carbon intensity of electricity", f"{grid['value']} g/kWh", grid))
    return Footprint(
        seconds=round(seconds, 1),
        instance=named if instance else None,
        vcpus=vcpus,
        dollars=instance["dollars_per_hour"] * seconds / 3600 if instance else None,
        kilowatt_hours=energy,
        grams=energy * grid["value"],
        factors=tuple(factors),
        notes=tuple(notes),
    )


def _factor(name: str, value: str, entry: Mapping[str, Any]) -> Factor:
    return Factor(f"{name}: {entry['meaning']}", value, entry["source"], entry["date"])


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(importlib.resources.files(__package__).joinpath("footprint.json").read_text())
    return data
