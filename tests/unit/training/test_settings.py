"""Presets, files of hyperparameters and flags, as the training's command line puts them together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from whippet_training import run
from whippet_training.settings import HYPERPARAMETERS, HeadSettings, Settings, presets
from whippet_training.train import app


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that returns what a training with these flags would be run with."""
    seen: list[Settings] = []

    class StopError(Exception):
        pass

    def record(data: Path, settings: Settings, *_: object, **__: object) -> None:
        seen.append(settings)
        raise StopError

    monkeypatch.setattr(run, "train", record)

    def parse(*flags: str) -> Settings:
        result = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "run"), *flags])
        if not isinstance(result.exception, StopError):
            raise AssertionError(result.output)
        return seen.pop()

    return parse


def test_flags_that_are_not_given_have_the_settings_own_defaults(settings: Any) -> None:
    assert settings() == Settings()


def test_a_flag_counts_above_a_file_and_a_file_above_a_preset(settings: Any, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("learning-rate: 0.02\nweight_decay: 0.5\nlabel-smoothing: 0.1\nbackbone: tf_efficientnet_lite2\n")
    for flags in (
        ["--preset", "fast", "--hyperparameters", str(file), "--label-smoothing", "0.2"],
        ["--label-smoothing", "0.2", "--hyperparameters", str(file), "--preset", "fast"],
    ):
        fast = presets()["fast"]
        assert settings(*flags) == Settings(
            backbone="tf_efficientnet_lite2",
            image_size=fast["image_size"],
            crop_pct=fast["crop_pct"],
            views=fast["views"],
            head=HeadSettings(learning_rate=0.02, weight_decays=(0.5,), label_smoothing=0.2, fit_on=fast["fit_on"]),
        )


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_accepted_and_says_all_that_it_says(settings: Any, name: str) -> None:
    trained_with = settings("--preset", name).hyperparameters()
    assert presets()[name].keys() <= set(HYPERPARAMETERS)
    for key, value in presets()[name].items():
        assert trained_with[key] == ([value] if key == "weight_decay" and not isinstance(value, list) else value)


def test_the_hyperparameters_of_a_training_repeat_it(settings: Any) -> None:
    flags = ["--hidden", "64", "--weight-decay", "0.1", "--weight-decay", "2", "--views", "4", "--image-size", "288"]
    chosen = settings(*flags)
    assert Settings.from_hyperparameters(chosen.hyperparameters()) == chosen
    assert set(chosen.hyperparameters()) == set(HYPERPARAMETERS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("learning-rate: fast\n", "Input should be a valid number"),
        ("learning-rate: -1\n", "greater than or equal to 0.00000001"),
        ("dropping: 0.1\n", "dropping, which are no hyperparameters"),
        ("- 1\n", "does not name hyperparameters"),
        ("a: [\n", "not valid YAML"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_followed_is_one_clear_line(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "best.yaml"
    if content is not None:
        file.write_text(content)
    result = CliRunner().invoke(app, [str(tmp_path), "--hyperparameters", str(file)], terminal_width=200)
    assert result.exit_code in (1, 2)
    assert says in " ".join(result.output.replace("│", " ").split())


def test_a_preset_that_does_not_exist_is_one_line_that_names_those_that_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path), "--preset", "bst"])
    assert result.exit_code == 1
    assert "There is no preset bst; choose fast, balanced" in result.output
