from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from whippet_training.errors import TrainingError
from whippet_training.search_space import SEARCHABLE, Choice, Range, read_space
from whippet_training.settings import HYPERPARAMETERS, HeadSettings, Settings
from whippet_training.train import app

TERRAFORM = Path(__file__).parents[3] / "terraform/modules/training_instance/variables.tf"


def flags_of_training() -> set[str]:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    return set(re.findall(r"--([a-z-]+)", shown))


def written(folder: Path, text: str) -> Path:
    file = folder / "space.yaml"
    file.write_text(text)
    return file


def test_the_default_space_speaks_in_the_flags_of_training() -> None:
    names = read_space().document().keys()
    assert names <= flags_of_training()
    assert {name.replace("-", "_") for name in names} == set(SEARCHABLE) <= set(HYPERPARAMETERS)


def test_the_default_space_searches_what_makes_a_head() -> None:
    searched = read_space(None, ["a", "b"]).searched
    assert searched.keys() == {
        "backbone",
        "views",
        "hidden",
        "dropout",
        "learning_rate",
        "batch_size",
        "weight_decay",
        "label_smoothing",
    }
    assert searched["backbone"] == Choice(("a", "b"))


def test_a_file_replaces_single_lines_of_the_space(tmp_path: Path) -> None:
    file = written(tmp_path, "learning-rate: {from: 1e-3, to: 0.01, scale: log}\nhidden: 0\nbatch_size: [64, 128]\n")
    space = read_space(file)
    assert space.searched["learning_rate"] == Range(0.001, 0.01, False, True)
    assert space.searched["batch_size"] == Choice((64, 128))
    assert space.fixed["hidden"] == 0
    assert space.searched["dropout"] == read_space().searched["dropout"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("learning_rat: 1", "learning-rat"),
        ("learning-rate: {from: 0, to: 1}", "learning-rate: 0 is not from 1e-08 up"),
        ("learning-rate: {from: 0.1, to: 0.01}", "from the lower to the higher"),
        ("learning-rate: {low: 0.1, high: 1}", "write a range as"),
        ("learning-rate: {from: 0.1, to: 1, scale: cubic}", "write a range as"),
        ("dropout: {from: 0, to: 0.5, scale: log}", "above 0"),
        ("dropout: [0, 1.5]", "1.5 is not from 0 to 0.95"),
        ("hidden: [64, 12.5]", "12.5 is not a whole number"),
        ("hidden: true", "True is not a whole number"),
        ("epochs: many", "'many' is not a whole number"),
        ("views: []", "empty list"),
        ("backbone: {from: 1, to: 2}", "1 is not a name"),
        ("seed: [1, 2]", "seed, which cannot be searched"),
        ("views: {from: 1", "not valid YAML"),
    ],
)
def test_a_space_that_training_would_refuse_is_one_clear_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(says)) as error:
        read_space(written(tmp_path, line))
    assert "\n" not in str(error.value)
    assert "space.yaml" in str(error.value)


def test_a_space_with_nothing_to_search_is_refused(tmp_path: Path) -> None:
    own = Settings().hyperparameters()
    lines = [f"{name}: {own[name]}" for name in SEARCHABLE if name != "weight_decay"]
    with pytest.raises(TrainingError, match="nothing to search"):
        read_space(written(tmp_path, "\n".join([*lines, "weight-decay: 0.1"])))


def test_the_settings_of_a_trial_are_what_was_chosen_and_what_is_fixed() -> None:
    space = read_space(None, ["a", "b"])
    chosen = {
        "backbone": "b",
        "views": 2,
        "hidden": 256,
        "dropout": 0.25,
        "learning-rate": 0.003,
        "batch-size": 100,
        "weight-decay": 0.5,
        "label-smoothing": 0.1,
    }
    head = HeadSettings(0.003, 100, 40, 4, (0.5,), 0.1, 256, 0.25)
    assert space.settings(chosen, seed=3) == Settings(backbone="b", views=2, head=head, seed=3)


def test_chosen_numbers_are_short_and_stay_within_their_range() -> None:
    where = Range(0.001234, 0.1, False, True)
    assert where.rounded(0.0123456) == 0.0123
    assert where.rounded(0.001234) == 0.001234


def test_the_first_trial_is_what_training_takes_by_itself_as_far_as_the_space_allows(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, "learning-rate: {from: 0.01, to: 0.1}"))
    assert "learning-rate" not in space.defaults()
    assert space.defaults()["batch-size"] == Settings().head.batch_size
    assert space.defaults()["weight-decay"] == Settings().head.weight_decays[0]


def test_sagemaker_gets_the_same_ranges() -> None:
    space = read_space(None, ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
    given = space.sagemaker_ranges()
    ranges: dict[str, dict[str, Any]] = {
        one["Name"].replace("-", "_"): one for kind in given["ParameterRanges"].values() for one in kind
    }
    assert ranges.keys() == space.searched.keys()
    for name, where in space.searched.items():
        if isinstance(where, Choice):
            assert ranges[name]["Values"] == [str(value) for value in where.values]
        else:
            assert float(ranges[name]["MinValue"]) == where.low
            assert float(ranges[name]["MaxValue"]) == where.high
            assert ranges[name]["ScalingType"] == ("Logarithmic" if where.is_logarithmic else "Linear")
    assert given["StaticHyperParameters"] == {"image-size": "0", "epochs": "40", "patience": "4"}


def test_sagemakers_integers_are_whole_numbers() -> None:
    integers = read_space().sagemaker_ranges()["ParameterRanges"]["IntegerParameterRanges"]
    assert [(one["Name"], one["MinValue"], one["MaxValue"]) for one in integers] == [
        ("views", "1", "2"),
        ("batch-size", "64", "512"),
    ]
