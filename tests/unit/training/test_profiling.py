from __future__ import annotations

import threading
import time

from whippet_training.profiling import Profile, phase


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
