from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from whippet_training.observe import Step
from whippet_training.profiling import Profile, phase, table


def test_nothing_is_recorded_while_no_profile_is_taken() -> None:
    profile = Profile()
    with profile.recording():
        pass
    with phase("decode"):
        pass
    assert profile.phases() == []


def test_phases_count_clock_time_once_and_thread_time_per_thread() -> None:
    profile, ready = Profile(), threading.Barrier(3)

    def decode() -> None:
        with phase("decode"):
            ready.wait()
            time.sleep(0.05)
            ready.wait()

    with profile.recording():
        threads = [threading.Thread(target=decode) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    [decoded] = profile.phases()
    assert (decoded.name, decoded.calls) == ("decode", 3)
    assert decoded.seconds >= 0.05
    assert decoded.thread_seconds > 2.5 * 0.05
    assert decoded.thread_seconds <= 3 * decoded.seconds


def test_a_phase_inside_another_is_not_counted_twice() -> None:
    profile = Profile()
    with profile.recording(), phase("decode"):
        with phase("io"):
            time.sleep(0.05)
        with phase("io"):
            pass
    times = {one.name: one for one in profile.phases()}
    assert times["io"].seconds >= 0.05
    assert times["decode"].calls == 1
    assert times["decode"].seconds < times["io"].seconds


def test_a_phase_that_fails_is_over() -> None:
    profile = Profile()
    with profile.recording():
        try:
            with phase("io"):
                raise OSError
        except OSError:
            pass
        with phase("decode"):
            pass
    assert [one.calls for one in profile.phases()] == [1, 1]


def train(profile: Profile, steps: int) -> None:
    network = torch.nn.Linear(30, 4)
    mover = torch.optim.SGD(network.parameters(), lr=0.1)
    profile.start(network, 4, [5, 5, 5, 5])
    for number in range(steps):
        mover.zero_grad()
        with phase("forward"):
            loss = torch.nn.functional.cross_entropy(network(torch.ones(20, 30)), torch.arange(20) % 4)
        with phase("backward"):
            loss.backward()
        profile.step(Step(number, 0, loss.item(), 20, 0.1))
        with phase("optimiser"):
            mover.step()
    profile.finish()


def read_trace(folder: Path) -> dict[str, Any]:
    assert [path.name for path in folder.iterdir()] == ["trace.json.gz"]
    document: dict[str, Any] = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    return document


def test_the_trace_shows_some_steps_and_the_phases_of_all_threads_on_one_clock(tmp_path: Path) -> None:
    profile = Profile()

    def decode() -> None:
        with phase("decode"):
            time.sleep(0.01)

    with profile.recording():
        thread = threading.Thread(target=decode, name="decoder")
        thread.start()
        thread.join()
        train(profile, 30)
    profile.write_trace(tmp_path)
    events = read_trace(tmp_path)["traceEvents"]
    steps = [event for event in events if event.get("name", "").startswith("ProfilerStep")]
    assert len(steps) == 5
    assert any(event.get("name") == "aten::addmm" for event in events)
    phases = [event for event in events if event.get("cat") == "phase"]
    assert sum(event["name"] == "backward" for event in phases) == 30
    [decoded] = [event for event in phases if event["name"] == "decode"]
    assert decoded["dur"] >= 10_000
    assert decoded["tid"] not in {event["tid"] for event in phases if event["name"] == "backward"}
    assert {"decoder", "MainThread"} <= {
        event["args"]["name"] for event in events if event.get("name") == "thread_name"
    }
    # The same phases as torch.profiler saw them
    theirs = sorted(event["ts"] for event in events if event.get("name") == "whippet.backward")
    ours = sorted(event["ts"] for event in phases if event["name"] == "backward")
    assert len(theirs) == 5
    for moment in theirs:
        assert min(abs(moment - other) for other in ours) < 20_000


def test_a_training_of_few_steps_and_a_second_one_are_traced_too(tmp_path: Path) -> None:
    profile = Profile()
    with profile.recording():
        train(profile, 2)
        train(profile, 30)
    profile.write_trace(tmp_path)
    phases = [event for event in read_trace(tmp_path)["traceEvents"] if event.get("cat") == "phase"]
    assert sum(event["name"] == "optimiser" for event in phases) == 32


def test_the_trace_is_bounded(tmp_path: Path) -> None:
    profile = Profile()
    with profile.recording():
        for _ in range(25_000):
            with phase("io"):
                pass
    profile.write_trace(tmp_path)
    assert profile.phases()[0].calls == 25_000
    assert len(read_trace(tmp_path)["traceEvents"]) < 20_010
    assert (tmp_path / "trace.json.gz").stat().st_size < 1_000_000


def test_the_report_adds_up_and_the_table_shows_it() -> None:
    profile = Profile()
    with profile.recording():
        with phase("decode"):
            time.sleep(0.03)
        time.sleep(0.02)
        with phase("io"):
            time.sleep(0.01)
    report = profile.report()
    inside = sum(one["seconds"] for one in report["phases"])
    assert report["other_seconds"] >= 0.019
    assert inside + report["other_seconds"] == pytest.approx(report["seconds"], abs=0.004)
    lines = table(report).splitlines()
    assert [line.split()[0] for line in lines] == ["phase", "decode", "io", "other", "total"]


def test_a_phase_costs_next_to_nothing_while_no_profile_is_taken() -> None:
    assert phase("decode") is phase("forward")
