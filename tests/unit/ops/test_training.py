from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WHIPPET = Path(sys.executable).parent / "whippet"


def drawing(folder: Path, *, session: bool) -> subprocess.Popen[bytes]:
    """`whippet data sample`, once it has something half written."""
    process = subprocess.Popen(
        [str(WHIPPET), "data", "sample", str(folder)], stderr=subprocess.DEVNULL, start_new_session=session
    )
    while not list(folder.parent.rglob("*.jpg")):
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "to_group", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143)],
)
def test_an_interrupted_command_lets_the_training_package_tidy_up(
    tmp_path: Path, number: signal.Signals, to_group: bool, status: int
) -> None:
    """Ctrl-C on a terminal reaches both processes, `kill` only the one that the user sees."""
    folder = tmp_path / "place" / "sample"
    process = drawing(folder, session=True)
    os.kill(-process.pid if to_group else process.pid, number)
    assert process.wait(60) == status
    assert [path.name for path in folder.parent.iterdir()] in ([], ["sample"])


def test_a_failure_keeps_its_exit_code_and_its_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(WHIPPET), "data", "check", str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not a folder" in done.stderr
