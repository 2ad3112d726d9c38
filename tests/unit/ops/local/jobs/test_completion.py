from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whippet.local.jobs.completion import Progress, end_of, improves

#: Two of some trials have ended, others run.
UNDER_WAY = Progress(ended=2, best=0.5, not_improving=1, is_exhausted=False, seconds_left=None)


def config(kind: str = "Maximize", **criteria: Any) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobObjective": {"Type": kind, "MetricName": "score"},
        "TuningJobCompletionCriteria": criteria,
    }


def test_a_job_goes_on_while_nothing_ends_it() -> None:
    assert end_of(config(), UNDER_WAY) is None


def test_a_job_is_complete_when_its_trials_or_its_time_are_used_up() -> None:
    assert end_of(config(), replace(UNDER_WAY, is_exhausted=True)) == ("Completed", "")
    assert end_of(config(), replace(UNDER_WAY, seconds_left=0.0)) == ("Completed", "")
    assert end_of(config(), replace(UNDER_WAY, seconds_left=0.1)) is None


@pytest.mark.parametrize(
    ("kind", "target", "is_complete"),
    [("Maximize", 0.5, True), ("Maximize", 0.6, False), ("Minimize", 0.5, True), ("Minimize", 0.4, False)],
)
def test_a_job_is_complete_when_its_target_is_reached(kind: str, target: float, is_complete: bool) -> None:
    assert (end_of(config(kind, TargetObjectiveMetricValue=target), UNDER_WAY) is not None) is is_complete


def test_a_job_is_complete_when_too_many_trials_have_not_improved() -> None:
    patient = config(BestObjectiveNotImproving={"MaxNumberOfTrainingJobsNotImproving": 3})
    assert end_of(patient, replace(UNDER_WAY, not_improving=2)) is None
    assert end_of(patient, replace(UNDER_WAY, not_improving=3)) == ("Completed", "")


def test_a_job_without_a_success_has_failed_after_five_trials_or_when_there_are_no_more() -> None:
    hopeless = replace(UNDER_WAY, best=None)
    assert end_of(config(), replace(hopeless, ended=4)) is None
    for progress in (replace(hopeless, ended=5), replace(hopeless, is_exhausted=True)):
        end = end_of(config(), progress)
        assert end is not None
        assert end[0] == "Failed"
        assert end[1].startswith(f"No training job succeeded after {progress.ended} attempts.")


def test_an_improvement_is_by_one_per_cent() -> None:
    assert improves(0.5, None, is_maximised=True, by=0.01)
    assert improves(0.506, 0.5, is_maximised=True, by=0.01)
    assert not improves(0.504, 0.5, is_maximised=True, by=0.01)
    assert improves(0.494, 0.5, is_maximised=False, by=0.01)
    assert not improves(0.5, 0.5, is_maximised=False)
