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
     "data sample", "data check"],
)  # fmt: skip
def test_every_commands_help_has_an_example(command: str) -> None:
    words = command.split()
    if words[0] in ("train", "data"):  # their help is the training package's own
        shown = subprocess.run(
            [str(Path(sys.executable).parent / "whippet"), *words, "--help"], capture_output=True, text=True, check=True
        ).stdout
    else:
        shown = CliRunner().invoke(app, [*words, "--help"]).output
    assert f"Example: whippet {command}" in " ".join(shown.split())
