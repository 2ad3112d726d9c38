from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

from whippet.local.jobs.records import TrainingJob, Trial, TuningJob

START = datetime(2026, 1, 1, tzinfo=UTC)


def job() -> TrainingJob:
    description = {"TrainingJobName": "job", "TrainingJobArn": "arn", "TrainingJobStatus": "InProgress"}
    found = TrainingJob("us-east-1", [], description)
    found.enter("Starting", START)
    return found


def test_each_status_ends_the_one_before() -> None:
    found = job()
    found.enter("Downloading", START + timedelta(seconds=1))
    first, second = found.description["SecondaryStatusTransitions"]
    assert (first["Status"], first["EndTime"]) == ("Starting", second["StartTime"])
    assert "EndTime" not in second
    assert found.training_job_status == "InProgress"


def test_what_is_done_to_stop_a_job_does_not_hide_that_it_is_stopping() -> None:
    found = job()
    for secondary in ("Stopping", "Uploading"):
        found.enter(secondary, START)
        assert (found.training_job_status, found.description["SecondaryStatus"]) == ("Stopping", secondary)
    found.enter("Stopped", START)
    assert found.is_over
    assert "EndTime" in found.description["SecondaryStatusTransitions"][-1]


def test_a_description_that_was_read_does_not_change() -> None:
    found = job()
    before = found.description
    found.enter("Completed", START)
    assert before["SecondaryStatus"] == "Starting"
    assert len(before["SecondaryStatusTransitions"]) == 1


def test_records_survive_on_disk() -> None:
    tuning = TuningJob("us-east-1", [], {"HyperParameterTuningJobName": "tuning"}, [Trial("job", {"x": "1"}, [0.5])])
    assert pickle.loads(pickle.dumps((job(), tuning))) == (job(), tuning)
