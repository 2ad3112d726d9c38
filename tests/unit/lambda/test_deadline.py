from __future__ import annotations

import threading
import time
from http import HTTPStatus

import pytest

from support.lambda_function import Context
from whippet_lambda.deadline import RESERVE, Deadline
from whippet_lambda.problem import Problem


def clock() -> float:
    return 100.0


def soon(seconds: float) -> Deadline:
    return Deadline(time.monotonic() + seconds)


def test_a_reserve_is_kept_for_writing_the_answer() -> None:
    assert Deadline.from_context(Context(seconds=30), clock).at == 130 - RESERVE


def test_the_earlier_of_two_deadlines_counts() -> None:
    assert Deadline(103, clock).within(5).remaining("x") == 3
    assert Deadline(110, clock).within(5).remaining("x") == 5


def test_no_time_left_is_a_504_that_says_for_what() -> None:
    with pytest.raises(Problem, match="The moon took too long") as raised:
        Deadline(100, clock).remaining("The moon")
    assert raised.value.status == 504


def test_work_within_its_time_gives_its_result() -> None:
    assert soon(30).bound(lambda: 7, "x") == 7


@pytest.mark.parametrize(
    "error", [KeyError("x"), TimeoutError("of the work's own"), Problem(HTTPStatus.FORBIDDEN, "no")]
)
def test_works_own_errors_come_through(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        soon(30).bound(fail, "x")
    assert raised.value is error


def test_work_that_takes_longer_is_given_up() -> None:
    release = threading.Event()
    try:
        with pytest.raises(Problem) as raised:
            soon(0.05).bound(lambda: release.wait(30), "x")
    finally:
        release.set()
    assert raised.value.status == 504
