from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from botocore.exceptions import NoCredentialsError
from typer.testing import CliRunner

from whippet.cli import WhippetGroup, app
from whippet.errors import WhippetError
from whippet.local import control as local_aws


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (WhippetError("Nothing is deployed to dev: run `whippet deploy --env dev`."), 1, "whippet deploy --env dev"),
        (OSError(errno.ENOSPC, "No space left on device", "build/report.json"), 1, "No space left on device"),
        (NoCredentialsError(), 1, "credentials"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_what_a_user_can_meet_is_one_line_and_an_exit_code(error: BaseException, status: int, says: str) -> None:
    failing = typer.Typer(cls=WhippetGroup)

    @failing.command()
    def work() -> None:
        raise error

    @failing.command()
    def other() -> None:
        pass

    result = CliRunner().invoke(failing, ["work"])
    assert result.exit_code == status
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command",
    ["deploy", "destroy", "predict", "demo", "local up", "local status", "local reset", "local down", "train",
     "tune", "data sample", "data check"],
)  # fmt: skip
def test_every_commands_help_has_an_example(command: str) -> None:
    words = command.split()
    if words[0] in ("train", "tune", "data"):  # their help is the training package's own
        shown = subprocess.run(
            [str(Path(sys.executable).parent / "whippet"), *words, "--help"], capture_output=True, text=True, check=True
        ).stdout
    else:
        shown = CliRunner().invoke(app, [*words, "--help"]).output
    assert f"Example: whippet {command}" in " ".join(shown.split())


def test_local_up_says_what_the_clock_shows_where_the_state_lies_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running = local_aws.Status(
        url="http://127.0.0.1:4566",
        pid=1,
        id="0123",
        started_at="2026-01-01T00:00:00Z",
        now="2026-01-01T10:00:00Z",
        speed=60.0,
        region="us-east-1",
        account="123456789012",
        concurrency=1000,
        endpoints=(),
        functions=(),
        jobs=(local_aws.JobStatus("tune-1", "Training", (2,)),),
        log=tmp_path / "log",
        state=tmp_path / "state",
        state_bytes=1_500_000,
        notice="The state of the last run is not used.",
    )
    monkeypatch.setattr(local_aws, "status", lambda port: None)
    monkeypatch.setattr(local_aws, "up", lambda port, speed, concurrency: running)
    shown = CliRunner().invoke(app, ["local", "up", "--speed", "60"])
    assert shown.exit_code == 0
    assert "clock 2026-01-01T10:00:00Z, 60 seconds of it in one of yours" in shown.stdout
    assert f"state {tmp_path / 'state'}, 1.5 MB" in shown.stdout
    assert "training job tune-1: Training" in shown.stdout
    assert "The state of the last run is not used." in shown.stderr


@pytest.mark.parametrize("options", [["--speed", "0"], ["--speed", "fast"], ["--concurrency", "0"]])
def test_local_up_refuses_what_cannot_be(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["local", "up", *options]).exit_code == 2
