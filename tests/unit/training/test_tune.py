"""The search as people run it; the backbone is Lite0, the quickest."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from PIL import Image
from plotly.offline import get_plotlyjs
from typer.testing import CliRunner

from whippet_training import tune
from whippet_training.errors import TrainingError
from whippet_training.run import Stopwatch
from whippet_training.search_space import read_space
from whippet_training.settings import HYPERPARAMETERS, Settings
from whippet_training.train import summary

TRIALS = 9
TERRAFORM = Path(__file__).parents[3] / "terraform/modules/training_instance/variables.tf"


def request(data: Path, trials: int = TRIALS, **changes: Any) -> tune.Request:
    values: dict[str, Any] = {
        "data": data,
        "space": read_space(),
        "trials": trials,
        "seconds": None,
        "pruner": "median",
        "seed": 0,
        "engine": "auto",
        "allow_leakage": False,
        "storage": None,
        "study": "whippet",
    }
    return tune.Request(**{**values, **changes})


def command(*arguments: str, cache: Path) -> list[str]:
    return [sys.executable, "-m", "whippet_training.tune", *arguments, "--cache", str(cache)]


def run(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, cache=cache), capture_output=True, text=True, check=False)


def find(wanted: tune.Request, folder: Path, cache: Path) -> tune.Found:
    """A search without the training that follows it."""
    return tune.find(wanted, folder / "run", cache, Stopwatch(time.perf_counter))


def rows(folder: Path) -> list[dict[str, str]]:
    """The trials without the time they took."""
    with (folder / "trials.csv").open(newline="") as lines:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(lines)]


@pytest.fixture(scope="module")
def searched(drawn: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search that has run to its end."""
    return tune.tune(request(drawn), tmp_path_factory.mktemp("search") / "run", shared_cache)


def test_the_run_folder_holds_values_reports_trials_and_the_final_model(searched: dict[str, Any]) -> None:
    folder = Path(searched["run"])
    assert {path.name for path in folder.iterdir()} == {
        "best.yaml",
        "best.tfvars.json",
        "trials.csv",
        "search.html",
        "search.png",
        "search.db",
        "final",
    }
    assert {"model.tar.gz", "metrics.json", "predictions.json"} <= {path.name for path in (folder / "final").iterdir()}
    assert searched["final"]["archive"] == str(folder / "final" / "model.tar.gz")
    assert len(rows(folder)) == TRIALS == sum(searched["trials"].values())


def test_the_final_model_is_the_best_trial_over_again_bit_for_bit(searched: dict[str, Any]) -> None:
    (trained,) = searched["final"]["trials"]
    assert min(trained["valid_loss"]) == searched["best"]["valid_loss"]
    losses = [float(row["valid_loss"]) for row in rows(Path(searched["run"])) if row["state"] == "complete"]
    assert searched["best"]["valid_loss"] == pytest.approx(min(losses), abs=1e-6)


def test_training_takes_the_best_values_as_they_were_written(searched: dict[str, Any]) -> None:
    text = (Path(searched["run"]) / "best.yaml").read_text()
    values = {name.replace("-", "_"): value for name, value in yaml.safe_load(text).items()}
    assert values.keys() <= set(HYPERPARAMETERS)
    settings = Settings.from_hyperparameters({**values, "weight_decay": [values["weight_decay"]]})
    used = searched["final"]["hyperparameters"]
    assert {name: value for name, value in settings.hyperparameters().items() if name != "weight_decay"}.items() <= (
        used.items()
    )
    assert values["weight_decay"] == used["weight_decay"]
    assert text.startswith(f"# Trial {searched['best']['trial']} of {TRIALS}")


def test_the_training_instance_takes_the_best_values_as_they_were_written(searched: dict[str, Any]) -> None:
    document = json.loads((Path(searched["run"]) / "best.tfvars.json").read_text())
    name, value = re.findall(
        r'can\(regex\("(\^\[.+?\$)"', TERRAFORM.read_text().split('variable "hyperparameters"')[1]
    )[:2]
    assert document["training_hyperparameters"]["learning-rate"] == str(
        searched["best"]["hyperparameters"]["learning-rate"]
    )
    for flag, text in document["training_hyperparameters"].items():
        assert re.fullmatch(name, flag)
        assert re.fullmatch(value, text)


def test_the_report_needs_no_network_and_shows_the_best_trials(searched: dict[str, Any]) -> None:
    folder = Path(searched["run"])
    page = (folder / "search.html").read_text()
    assert get_plotlyjs() in page
    assert not re.findall(r"(?:src|href|url)\W+http", page.replace(get_plotlyjs(), ""))
    for heading in ("Best trials", "History", "Importance", "Parallel coordinates"):
        assert f"<h2>{heading}" in page
    assert f"<td>{searched['best']['trial']}</td><td>{searched['best']['valid_loss']:.4f}</td>" in page
    with Image.open(folder / "search.png") as picture:
        assert picture.width >= 1000


def test_the_same_seed_finds_the_same_values_and_another_command_goes_on_with_a_search(
    searched: dict[str, Any], drawn: Path, shared_cache: Path, tmp_path: Path
) -> None:
    find(request(drawn, 5), tmp_path, shared_cache)
    more = find(request(drawn), tmp_path, shared_cache)
    whole = optuna.load_study(study_name="whippet", storage=searched["storage"]).trials
    assert [(trial.params, trial.intermediate_values) for trial in more.trials] == [
        (trial.params, trial.intermediate_values) for trial in whole
    ]
    assert (more.number, more.loss) == (searched["best"]["trial"], searched["best"]["valid_loss"])


def test_neither_what_test_photos_show_nor_how_they_are_labelled_decides_a_search(
    searched: dict[str, Any], data: Path, shared_cache: Path, tmp_path: Path
) -> None:
    shutil.rmtree(data / "test")
    found = find(request(data), tmp_path, shared_cache)
    assert (found.loss, found.hyperparameters) == (
        searched["best"]["valid_loss"],
        searched["best"]["hyperparameters"],
    )


def test_a_folder_of_another_search_is_refused(searched: dict[str, Any], drawn: Path, shared_cache: Path) -> None:
    with pytest.raises(TrainingError, match="differs in seed"):
        find(request(drawn, seed=1), Path(searched["run"]).parent, shared_cache)


def test_pictures_in_two_splits_end_a_search_before_it_begins(data: Path, shared_cache: Path, tmp_path: Path) -> None:
    photo = next((data / "train" / "owl").iterdir())
    with Image.open(photo) as picture:
        picture.save(data / "test" / "owl" / "again.png")  # other bytes, the same picture
    with pytest.raises(TrainingError, match="more than one split"):
        find(request(data), tmp_path, shared_cache)


def test_a_killed_search_goes_on_where_it_was(
    searched: dict[str, Any], drawn: Path, shared_cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = (str(drawn), "--out", str(folder), "--trials", str(TRIALS))
    process = subprocess.Popen(command(*arguments, cache=shared_cache))
    kept = _wait_for_trials(process, folder / "search.db")
    process.kill()
    process.wait()
    done = run(*arguments, "--json", cache=shared_cache)
    assert done.returncode == 0, done.stderr
    assert kept
    assert json.loads(done.stdout)["best"] == searched["best"]
    assert rows(folder) == rows(Path(searched["run"]))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_an_interrupted_search_says_how_to_go_on_and_leaves_nothing_half_written(
    drawn: Path, shared_cache: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = tmp_path / "run"
    arguments = (str(drawn), "--out", str(folder), "--trials", "100000", "--pruner", "none")
    process = subprocess.Popen(command(*arguments, cache=shared_cache), stderr=subprocess.PIPE, text=True)
    _wait_for_trials(process, folder / "search.db")
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == status
    assert "the same command goes on where it was" in told
    assert "Traceback" not in told
    assert [path.name for path in folder.iterdir()] == ["search.db"]


def _wait_for_trials(process: subprocess.Popen[Any], database: Path) -> int:
    """Waits until the search has written a trial."""
    while process.poll() is None:
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
                if count := connection.execute("select count(*) from trials").fetchone()[0]:
                    return int(count)
        except sqlite3.OperationalError:
            pass
        time.sleep(0.01)
    raise AssertionError("the search ended before it was interrupted")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pruner", "axe"], "no pruner axe; choose median, hyperband, none"),
        (["--backbones", "tf_efficientnet_lite0,lite9"], "no backbone named lite9"),
        (["--space", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--storage", "nowhere"], "--storage takes an address"),
        (["--timeout", "0"], "None of 0 trials came to its end"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_line(
    drawn: Path, shared_cache: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    given = [str(drawn), "--out", str(tmp_path / "run"), "--cache", str(shared_cache), *arguments]
    result = CliRunner().invoke(tune.app, given)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_with_somebodys_files_is_not_searched_into(drawn: Path, shared_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(TrainingError, match="not a search's run folder"):
        tune.tune(request(drawn), tmp_path, shared_cache)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_sagemaker_finds_the_objective_in_what_training_prints(searched: dict[str, Any]) -> None:
    (metric,) = tune.SAGEMAKER_OBJECTIVE["MetricDefinitions"]
    assert isinstance(metric, dict)
    (found,) = [
        match[1] for line in summary(searched["final"]).splitlines() if (match := re.search(metric["Regex"], line))
    ]
    assert float(found) == pytest.approx(searched["final"]["valid"]["loss"], abs=1e-4)


def test_the_ranges_for_sagemaker_are_printed_without_a_search(tmp_path: Path) -> None:
    done = run("photos", "--sagemaker-ranges", "--trials", "7", "--seed", "3", cache=tmp_path)
    printed = json.loads(done.stdout)
    assert printed["ParameterRanges"] == read_space().sagemaker_ranges()["ParameterRanges"]
    assert printed["StaticHyperParameters"]["seed"] == "3"
    assert (printed["MaxNumberOfTrainingJobs"], printed["RandomSeed"], printed["Data"]) == (7, 3, "photos")
    assert not list(tmp_path.iterdir())
