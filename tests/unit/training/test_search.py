from __future__ import annotations

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from whippet_training.errors import TrainingError
from whippet_training.search import ROUND, WARM_UP, Plan, Report, best_of, search
from whippet_training.search_record import StudyRecord
from whippet_training.search_space import read_space

SPACE = read_space()
EPOCHS = 20


class Memory:
    """Keeps trials in a list."""

    def __init__(self, trials: list[FrozenTrial] | None = None) -> None:
        self.kept = list(trials or [])

    def trials(self) -> list[FrozenTrial]:
        return list(self.kept)

    def add(self, trial: FrozenTrial, number: int) -> None:
        assert number == len(self.kept)
        self.kept.append(trial)


def loss(chosen: Mapping[str, Any]) -> float:
    """Lowest at a learning rate of 0.003, two views and no label smoothing."""
    return (
        0.3 + 0.3 * abs(math.log10(chosen["learning-rate"] / 0.003)) + chosen["label-smoothing"] + 0.1 / chosen["views"]
    )


def objective(chosen: Mapping[str, Any], report: Report) -> float:
    for epoch in range(EPOCHS):
        report(epoch, loss(chosen) + 2 * math.exp(-epoch / 3))
    return loss(chosen)


def plan(pruner: str = "median", seed: int = 0) -> Plan:
    return Plan(SPACE, seed, pruner, EPOCHS)


def told(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    """All of trials that a search may not change from run to run."""
    return [(trial.state, trial.value, trial.params, trial.intermediate_values) for trial in trials]


def run(trials: int, threads: int = 2, pruner: str = "median", seed: int = 0, **others: Any) -> list[FrozenTrial]:
    run_objective: Callable[[Mapping[str, Any], Report], float] = others.pop("objective", objective)
    return search(run_objective, plan(pruner, seed), others.pop("record", Memory()), trials, threads, **others)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_the_same_seed_and_number_of_trials_give_the_same_search_in_any_number_of_threads(pruner: str) -> None:
    def dawdling(chosen: Mapping[str, Any], report: Report) -> float:
        time.sleep(chosen["dropout"] / 30)  # trials end in another order than they began
        return objective(chosen, report)

    alone = run(14, 1, pruner)
    assert told(run(14, 4, pruner, objective=dawdling)) == told(alone)
    assert told(run(14, 1, pruner, seed=1)) != told(alone)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize("kept", [2, ROUND, 2 * ROUND + 3])
def test_a_search_that_ended_early_goes_on_to_the_same_trials(pruner: str, kept: int) -> None:
    whole = run(16, pruner=pruner)
    assert told(run(16, pruner=pruner, record=Memory(whole[:kept]))) == told(whole)


def test_a_search_that_is_given_more_trials_goes_on_as_if_it_had_had_them_from_the_start() -> None:
    record = Memory()
    run(6, record=record)
    assert told(run(11, record=record)) == told(run(11))


def test_searching_finds_better_values_than_the_ones_that_training_takes_by_itself() -> None:
    trials = run(24)
    assert trials[0].params["learning-rate"] == 0.001
    best = trials[best_of(trials)]
    assert best.value is not None
    assert best.value < loss(SPACE.defaults()) - 0.05
    assert best.value == min(trial.value for trial in trials if trial.state is TrialState.COMPLETE and trial.value)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_weak_trials_are_given_up_early_and_good_ones_are_not(pruner: str) -> None:
    trials = run(24, pruner=pruner)
    given_up = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert given_up
    assert all(WARM_UP <= len(trial.intermediate_values) < EPOCHS for trial in given_up)
    assert all("earlier trials were better" in trial.user_attrs["reason"] for trial in given_up)
    # What a trial would have come to had it been trained to the end
    assert min(loss(trial.params) for trial in given_up) > loss(trials[best_of(trials)].params)


def test_without_a_pruner_all_trials_are_trained_to_the_end() -> None:
    assert {trial.state for trial in run(12, pruner="none")} == {TrialState.COMPLETE}


def test_a_trial_whose_loss_is_no_number_is_given_up_and_cannot_win() -> None:
    def diverging(chosen: Mapping[str, Any], report: Report) -> float:
        if chosen["learning-rate"] > 0.003:
            report(0, math.nan)
        return objective(chosen, report)

    trials = run(12, objective=diverging, pruner="none")
    diverged = [trial for trial in trials if trial.params["learning-rate"] > 0.003]
    assert diverged
    assert all(trial.state is TrialState.PRUNED and "nan" in trial.user_attrs["reason"] for trial in diverged)
    assert trials[best_of(trials)].params["learning-rate"] <= 0.003


def test_a_search_in_which_no_trial_ends_says_what_to_do() -> None:
    def diverging(chosen: Mapping[str, Any], report: Report) -> float:
        report(0, math.inf)
        return 0

    with pytest.raises(TrainingError, match="None of 4 trials came to its end"):
        best_of(run(4, objective=diverging))


def test_after_the_time_limit_no_trial_goes_on_and_those_that_ended_are_kept() -> None:
    now = [0.0]
    lock = threading.Lock()

    def slow(chosen: Mapping[str, Any], report: Report) -> float:
        for epoch in range(EPOCHS):
            with lock:
                now[0] += 1
            report(epoch, 1.0)
        return 1.0

    record = Memory()
    trials = run(12, 1, objective=slow, seconds=2.5 * EPOCHS, clock=lambda: now[0], record=record)
    assert len(trials) == 2
    assert told(record.kept) == told(trials)


def test_an_interrupted_search_ends_its_threads_and_keeps_what_has_ended() -> None:
    record, calls = Memory(), itertools.count()

    def interrupt(trial: FrozenTrial, number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    def endless(chosen: Mapping[str, Any], report: Report) -> float:
        if next(calls) < 2:
            return objective(chosen, report)
        for epoch in range(10**9):
            report(epoch, 1.0)
        return 1.0

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(12, 1, objective=endless, record=record, tell=interrupt)
    assert len(record.kept) == 2
    assert threading.active_count() == before
    assert told(run(12, record=record)) == told(run(12))


def test_an_error_in_a_trial_ends_the_search() -> None:
    def broken(chosen: Mapping[str, Any], report: Report) -> float:
        raise TrainingError("no memory left")

    with pytest.raises(TrainingError, match="no memory left"):
        run(8, objective=broken)


def test_trials_that_this_search_would_not_have_tried_are_refused() -> None:
    record = Memory(run(6, seed=1))
    with pytest.raises(TrainingError, match="another version"):
        run(8, record=record)


def open_record(folder: Path, **identity: Any) -> StudyRecord:
    return StudyRecord(f"sqlite:///{folder / 'search.db'}", "whippet", {"data": "d", "seed": 0, **identity})


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_trials_in_a_database_are_gone_on_with_bit_for_bit(tmp_path: Path, pruner: str) -> None:
    run(7, pruner=pruner, record=open_record(tmp_path))
    again = open_record(tmp_path)
    assert told(again.trials()) == told(run(7, pruner=pruner))
    assert told(run(14, pruner=pruner, record=again)) == told(run(14, pruner=pruner))


def test_the_database_is_one_that_optuna_and_its_dashboard_read(tmp_path: Path) -> None:
    trials = run(10, record=open_record(tmp_path))
    study = optuna.load_study(study_name="whippet", storage=f"sqlite:///{tmp_path / 'search.db'}")
    assert told(study.trials) == told(trials)
    assert study.best_trial.number == best_of(trials)
    assert all(trial.datetime_start and trial.duration for trial in study.trials)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_end_of_a_transaction(
    tmp_path: Path, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    record = open_record(tmp_path)
    trial = run(4)[0]
    before = signal.getsignal(number)
    ended: list[int] = []
    signal.signal(number, lambda number, _: ended.append(len(open_record(tmp_path).trials())))
    slow = optuna.study.Study.add_trial

    def add_trial(study: optuna.Study, added: FrozenTrial) -> None:
        signal.raise_signal(number)
        assert not ended
        slow(study, added)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optuna.study.Study, "add_trial", add_trial)
            record.add(trial, 0)
    finally:
        signal.signal(number, before)
    assert ended == [1]
    assert not caplog.records


def test_another_search_in_the_database_is_refused_in_one_line_that_says_what_differs(tmp_path: Path) -> None:
    run(4, record=open_record(tmp_path))
    with pytest.raises(
        TrainingError, match=r"search\.db holds a search that differs in data and seed: repeat"
    ) as error:
        open_record(tmp_path, data="other", seed=1)
    assert "\n" not in str(error.value)


def test_two_searches_that_write_to_one_database_are_told(tmp_path: Path) -> None:
    mine, theirs = open_record(tmp_path), open_record(tmp_path)
    trial = run(4)[0]
    theirs.add(trial, 0)
    with pytest.raises(TrainingError, match="Another process adds trials"):
        mine.add(trial, 0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nowhere", "--storage takes an address such as sqlite:///search.db"),
        ("sqlite:////nowhere/search.db", "cannot be used: unable to open"),
        ("oracle+oracledb://me:secret@host/db", "driver is missing: pip install oracledb"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_line_without_a_password(url: str, says: str) -> None:
    with pytest.raises(TrainingError) as error:
        StudyRecord(url, "whippet", {})
    assert says in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "search.db").write_text("no database" * 100)
    with pytest.raises(TrainingError, match="cannot be used: file is not a database"):
        open_record(tmp_path)
