"""Searches a space with Optuna: the same data, seed and number of trials find the same values on any machine.

Trials run in rounds of a fixed size, whatever the number of threads. What a round tries, and which of its trials are
given up, depends on the trials of earlier rounds alone: who is quicker decides nothing. So a search that was killed
comes to what it would have found, and one that is given more trials goes on from where it ended.
"""

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from whippet_training.errors import TrainingError
from whippet_training.search_space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

ROUND = 4
"""Trials that are chosen together: two for each core of a small machine, so that none idles long."""

RANDOM_TRIALS = 2 * ROUND
"""Before the sampler learns from them; the first of all is what training takes by itself."""

WARM_UP = 5
"""Epochs that no trial is given up in: small steps start slowly and may end well."""

PRUNERS = ("median", "hyperband", "none")

STUDY = "search"
"""Hyperband makes up its brackets of this name and the trial's number."""

Report = Callable[[int, float], None]
"""Takes the number of an epoch, from 0, and the validation loss after it; raises to end the trial."""

Objective = Callable[[Mapping[str, Any], Report], float]
"""Trains with what Optuna has chosen, reports every epoch, returns the loss to minimise; called from threads."""


class Record(Protocol):
    """Where the trials of a search are kept."""

    def trials(self) -> list[FrozenTrial]:
        """The trials so far, in order."""
        ...

    def add(self, trial: FrozenTrial, number: int) -> None:
        """Keeps a trial that has ended; it is the ``number``-th, from 0."""
        ...


@dataclass(frozen=True)
class Plan:
    """What decides a search, beside the data.

    Attributes:
        space: What is searched.
        seed: Of every choice.
        pruner: One of PRUNERS.
        epochs: The most that a trial may take, for Hyperband.
    """

    space: Space
    seed: int
    pruner: str
    epochs: int


class _Abandoned(Exception):  # noqa: N818 - the search ends, the trial has not failed
    """The search is over before the trial is."""


def search(
    objective: Objective,
    plan: Plan,
    record: Record,
    trials: int,
    threads: int,
    seconds: float | None = None,
    tell: Callable[[FrozenTrial, int], None] = lambda trial, number: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[FrozenTrial]:
    """Runs the trials that the record does not hold yet.

    Args:
        objective: Trains.
        plan: What is tried.
        record: Keeps every trial that has ended, as soon as all before it have.
        trials: How many there are to be, those of earlier runs included.
        threads: How many run at once; decides nothing but the time it takes.
        seconds: After which no trial goes on; those that have not ended are not recorded.
        tell: Called for each trial that was recorded, with its number.
        clock: In seconds.

    Returns:
        All trials in order.

    Raises:
        TrainingError: If the record holds trials that this plan would not have tried.
    """
    deadline = math.inf if seconds is None else clock() + seconds
    done = record.trials()
    stop = threading.Event()
    while len(done) < trials and clock() < deadline:
        first = len(done) - len(done) % ROUND
        earlier = done[:first]
        chosen = _choose(plan, earlier, min(ROUND, trials - first))
        if [trial.params for trial in done[first:]] != chosen[: len(done) - first]:
            raise TrainingError(
                "The trials so far are of another version of Optuna or Whippet, and cannot be gone on with: "
                "pass another --out or --storage."
            )

        def run(
            place: int, earlier: Sequence[FrozenTrial] = earlier, chosen: Sequence[dict[str, Any]] = chosen
        ) -> FrozenTrial:
            return _run(objective, plan, earlier, chosen, place, lambda: stop.is_set() or clock() >= deadline)

        pool = ThreadPoolExecutor(threads)
        try:
            for trial in pool.map(run, range(len(done) - first, len(chosen))):
                record.add(trial, len(done))
                done.append(trial)
                tell(trial, len(done) - 1)
        except _Abandoned:
            break
        finally:
            stop.set()  # whatever ends the search early, Ctrl-C above all, ends its threads at their next epoch
            pool.shutdown(cancel_futures=True)
            stop.clear()
    return done


def best_of(trials: Sequence[FrozenTrial]) -> int:
    """The number of the trial with the lowest loss.

    Raises:
        TrainingError: If none has come to its end.
    """
    complete = [(trial.value, number) for number, trial in enumerate(trials) if trial.state is TrialState.COMPLETE]
    if not complete:
        raise TrainingError(
            f"None of {len(trials)} trials came to its end: allow more --trials or --timeout, or lower learning rates."
        )
    return min(complete)[1]


def _choose(plan: Plan, earlier: Sequence[FrozenTrial], count: int) -> list[dict[str, Any]]:
    """What the next round tries, by earlier rounds alone."""
    draw = np.random.SeedSequence([plan.seed, len(earlier)]).generate_state(1)
    # constant_liar: the trials of a round know of each other that they run, and keep their distance.
    sampler = optuna.samplers.TPESampler(seed=int(draw[0]), n_startup_trials=RANDOM_TRIALS, constant_liar=True)
    study = optuna.create_study(study_name=STUDY, sampler=sampler, pruner=_pruner(plan))
    study.add_trials(earlier)
    if not earlier:
        study.enqueue_trial(plan.space.defaults())
    distributions = plan.space.distributions()
    return [plan.space.rounded(study.ask(distributions).params) for _ in range(count)]


def _run(
    objective: Objective,
    plan: Plan,
    earlier: Sequence[FrozenTrial],
    chosen: Sequence[dict[str, Any]],
    place: int,
    is_over: Callable[[], bool],
) -> FrozenTrial:
    """Runs a trial of a round in a study that knows of earlier rounds only."""
    if is_over():
        raise _Abandoned
    start, began = datetime.datetime.now(), time.perf_counter()
    distributions = plan.space.distributions()
    study = optuna.create_study(study_name=STUDY, sampler=optuna.samplers.RandomSampler(0), pruner=_pruner(plan))
    study.add_trials(earlier)
    for params in chosen[:place]:  # a trial's number decides its bracket
        study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions))
    study.enqueue_trial(chosen[place])
    trial = study.ask(distributions)
    losses: dict[int, float] = {}

    def report(epoch: int, loss: float) -> None:
        if is_over():
            raise _Abandoned
        if not math.isfinite(loss):
            raise optuna.TrialPruned(f"The loss is {loss} after epoch {epoch + 1}.")
        losses[epoch] = loss
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"Given up after epoch {epoch + 1}: earlier trials were better by then.")

    try:
        value: float | None = objective(chosen[place], report)
        state, reason = TrialState.COMPLETE, None
    except optuna.TrialPruned as pruned:
        value, state, reason = losses[max(losses)] if losses else None, TrialState.PRUNED, str(pruned)
    kept = study.get_trials(deepcopy=False)[trial.number].system_attrs
    ended = create_trial(
        state=state,
        value=value,
        params=chosen[place],
        distributions=distributions,
        intermediate_values=losses,
        user_attrs={"seconds": round(time.perf_counter() - began, 3), **({"reason": reason} if reason else {})},
        # where Hyperband keeps how far a trial has come
        system_attrs={name: value for name, value in kept.items() if name.startswith("completed_rung_")},
    )
    ended.datetime_start, ended.datetime_complete = start, datetime.datetime.now()
    return ended


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    match plan.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=ROUND, n_warmup_steps=WARM_UP)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=min(WARM_UP, plan.epochs), max_resource=plan.epochs, reduction_factor=3
            )
        case _:
            return optuna.pruners.NopPruner()
