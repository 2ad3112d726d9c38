from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from whippet_training.console import RESUMABLE

FLAGS = ("--backbone", "tf_efficientnet_lite0", "--json")


def start(data: Path, out: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "whippet_training.train", str(data), "--out", str(out), *FLAGS],
        env={**os.environ, "WHIPPET_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_after_sigterm_the_same_command_goes_on_and_makes_the_same_model(drawn: Path, tmp_path: Path) -> None:
    process = start(drawn, tmp_path / "run", tmp_path / "cache")
    while not any(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == RESUMABLE == 75
    assert told == "interrupted; the same command goes on where it was\n"
    assert not (tmp_path / "run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    resumed = start(drawn, tmp_path / "run", tmp_path / "cache")
    uninterrupted = start(drawn, tmp_path / "other", tmp_path / "other-cache")
    reports = []
    for process in (resumed, uninterrupted):
        printed, told = process.communicate(timeout=200)
        assert process.returncode == 0, told
        reports.append(json.loads(printed))
    assert reports[0]["features"]["cached"] > 0
    assert reports[0]["model"]["id"] == reports[1]["model"]["id"]
