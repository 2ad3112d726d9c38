from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from whippet.local import processes
from whippet.local.processes import MAX_LINE_BYTES, Output

Run = Callable[[str], tuple[list[str], threading.Event]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a program; its lines as they come, and what is set once there are no more."""
    started: list[Popen[bytes]] = []

    def run(source: str) -> tuple[list[str], threading.Event]:
        lines: list[str] = []
        ended = threading.Event()
        process = processes.spawn([sys.executable, "-S", "-c", source], {}, tmp_path)
        started.append(process)
        Output(process, lines.extend, ended.set)
        return lines, ended

    yield run
    for process in started:
        processes.stop(process, 0)


def test_output_comes_line_by_line(run: Run) -> None:
    lines, ended = run("import os; os.write(1, b'one\\r\\n\\ntwo \\xff\\nthe rest')")
    assert ended.wait(20)
    assert lines == ["one", "", "two \ufffd", "the rest"]


def test_a_line_without_an_end_comes_in_pieces(run: Run) -> None:
    length = 2 * MAX_LINE_BYTES + 5
    lines, ended = run(f"import sys; sys.stdout.write('x' * {length} + '\\nshort')")
    assert ended.wait(20)
    assert "".join(lines) == "x" * length + "short"
    assert max(map(len, lines)) <= MAX_LINE_BYTES


def test_a_process_that_never_stops_writing_is_heard_and_stopped(run: Run) -> None:
    lines, ended = run("import os\nwhile True: os.write(1, b'line\\n' * 10_000)")
    for _ in range(2000):
        if lines or ended.wait(0.01):
            break
    assert lines


def test_a_process_is_heard_to_its_end_whatever_becomes_of_its_lines(tmp_path: Path) -> None:
    ended = threading.Event()

    def fail(lines: list[str]) -> None:
        raise LookupError("there is no such log group any more")

    source = "import os\nfor _ in range(100): os.write(1, b'line\\n' * 10_000)"
    process = processes.spawn([sys.executable, "-S", "-c", source], {}, tmp_path)
    try:
        Output(process, fail, ended.set)
        assert ended.wait(20)
        assert process.wait(20) == 0
    finally:
        processes.stop(process, 0)
