from __future__ import annotations

import itertools
from typing import Any

import pytest

from whippet.local.jobs import strategies
from whippet.local.jobs.strategies import Grid, Search, Suggestion, read_ranges


def continuous(low: str, high: str, scaling: str = "Linear") -> dict[str, Any]:
    given = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    return {"ContinuousParameterRanges": [given]}


def integer(low: str, high: str, scaling: str = "Linear") -> dict[str, Any]:
    return {"IntegerParameterRanges": continuous(low, high, scaling)["ContinuousParameterRanges"]}


def search(given: dict[str, Any], strategy: str = "Random", **options: Any) -> Search:
    return Search(strategy, read_ranges(given), **{"is_maximised": True, "seed": 1, **options})


def suggested(strategy: Search) -> Suggestion:
    suggestion = strategy.suggest()
    assert suggestion is not None
    return suggestion


def draws(given: dict[str, Any], count: int = 400) -> list[float]:
    strategy = search(given)
    return [float(suggested(strategy).parameters["x"]) for _ in range(count)]


@pytest.mark.parametrize(
    ("given", "low", "middle", "high"),
    [
        (continuous("0", "1"), 0, 0.5, 1),
        (continuous("0.0001", "1", "Logarithmic"), 0.0001, 0.01, 1),
        (continuous("0", "0.9999", "ReverseLogarithmic"), 0, 0.99, 0.9999),
        (continuous("0.0001", "1", "Auto"), 0.0001, 0.01, 1),
        (continuous("1", "2", "Auto"), 1, 1.5, 2),
        (integer("1", "1024", "Logarithmic"), 1, 32, 1024),
    ],
)
def test_half_of_what_is_drawn_lies_below_the_middle_of_the_scale(
    given: dict[str, Any], low: float, middle: float, high: float
) -> None:
    drawn = draws(given)
    assert all(low <= value <= high for value in drawn)
    assert 0.4 < sum(value < middle for value in drawn) / len(drawn) < 0.6


def test_integers_are_written_as_integers() -> None:
    parameters = suggested(search(integer("3", "3"))).parameters
    assert parameters == {"x": "3"}


def test_categories_are_given_as_they_are_written() -> None:
    given = {"CategoricalParameterRanges": [{"Name": "x", "Values": ['"adam"']}]}
    assert suggested(search(given)).parameters == {"x": '"adam"'}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "At least one"),
        (continuous("1", "0"), "MinValue must not be greater"),
        (continuous("a", "b"), "must be numbers"),
        (continuous("0", "1", "Logarithmic"), "greater than 0"),
        (continuous("0", "1", "ReverseLogarithmic"), "0 <= x < 1"),
        (integer("0.5", "1"), "must be integers"),
        (integer("0", "1", "ReverseLogarithmic"), "cannot be reverse logarithmic"),
        ({**continuous("0", "1"), **integer("0", "1")}, "one range each: x"),
        ({"AutoParameters": [{"Name": "x", "ValueHint": "1"}]}, "does not support AutoParameters"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ranges(given)


def test_the_same_seed_gives_the_same_suggestions() -> None:
    given = continuous("0", "1")
    assert draws(given, 5) == draws(given, 5)
    assert draws(given, 5) != [float(suggested(search(given, seed=2)).parameters["x"]) for _ in range(5)]


def test_a_grid_gives_every_combination_once() -> None:
    names = [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y", "z"]}]
    ranges = read_ranges({"CategoricalParameterRanges": names})
    grid = Grid(ranges)
    seen = [tuple(suggestion.parameters.values()) for suggestion in iter(grid.suggest, None)]
    assert seen == list(itertools.product("12", "xyz"))
    assert strategies.combinations(ranges) == 6


def test_a_grid_is_of_categories_alone() -> None:
    with pytest.raises(ValueError, match="categorical"):
        strategies.combinations(read_ranges(continuous("0", "1")))


def test_bayesian_search_comes_closer_to_the_best_than_chance() -> None:
    def mean_distance(strategy: str) -> float:
        found = search(continuous("0", "1"), strategy)
        distances = []
        for _ in range(40):
            suggestion = suggested(found)
            distances.append(abs(float(suggestion.parameters["x"]) - 0.7))
            found.tell(suggestion, -distances[-1])
        return sum(distances[20:]) / 20

    assert mean_distance("Bayesian") < mean_distance("Random") / 2


def test_what_other_jobs_have_learned_guides_the_search() -> None:
    found = search(continuous("0", "1"), "Bayesian")
    for number in range(30):
        x = (number + 0.5) / 30
        found.learn({"x": repr(x)}, -abs(x - 0.7))
    found.learn({"x": "2.0"}, 1.0)  # outside of the range
    found.learn({"y": "0.1"}, 1.0)  # not searched
    drawn = [abs(float(suggested(found).parameters["x"]) - 0.7) for _ in range(8)]
    assert sum(drawn) / len(drawn) < 0.15


def test_hyperband_gives_up_the_worse_and_lets_none_run_longer_than_it_may() -> None:
    found = search(continuous("0", "1"), "Hyperband", resources=(1, 9))
    stopped_at = []
    for number in range(30):
        suggestion = suggested(found)
        quality = (number * 7 % 30) / 30
        values: list[float] = []
        while not found.should_stop(suggestion, values):
            values.append(quality)
        stopped_at.append((quality, len(values)))
        found.tell(suggestion, values[-1])
    assert {epochs for _, epochs in stopped_at} > {9}
    assert max(epochs for _, epochs in stopped_at) == 9
    good = [epochs for quality, epochs in stopped_at if quality > 0.5]
    poor = [epochs for quality, epochs in stopped_at if quality < 0.5]
    assert sum(good) / len(good) > sum(poor) / len(poor)


def test_hyperband_takes_its_resources_from_the_static_hyperparameters() -> None:
    assert strategies.hyperband_resources({}, {"epochs": "27"}) == (1, 27)
    assert strategies.hyperband_resources({"MinResource": 3, "MaxResource": 9}, {"epochs": "27"}) == (3, 9)
    with pytest.raises(ValueError, match="needs MaxResource"):
        strategies.hyperband_resources({}, {"steps": "27"})
    with pytest.raises(ValueError, match="MinResource <= MaxResource"):
        strategies.hyperband_resources({"MinResource": 3, "MaxResource": 2}, {})


@pytest.mark.parametrize(
    ("values", "earlier", "is_worse"),
    [
        ([], [[1.0]], False),
        ([0.5], [], False),
        ([0.5], [[0.6, 0.9], [0.4], [0.7]], True),  # the median of 0.6, 0.4 and 0.7
        ([0.5, 0.65], [[0.4, 0.8]], False),  # the average of the two is 0.6
        ([0.5, 0.55], [[0.4, 0.8]], True),
        ([0.5, 0.55, 0.1], [[0.4, 0.8]], False),  # none has come so far
    ],
)
def test_a_job_is_stopped_early_below_the_median_of_running_averages(
    values: list[float], earlier: list[list[float]], is_worse: bool
) -> None:
    assert strategies.is_worse_than_median(values, earlier, is_maximised=True) is is_worse
    negated = [[-value for value in one] for one in earlier]
    assert strategies.is_worse_than_median([-value for value in values], negated, is_maximised=False) is is_worse
