"""Runs the training package, which is a program of its own: the packages never import one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

#: Seconds in which an interrupted training removes what it has half written, before it is told again.
TIDYING = 5.0


def run_training(module: str, prog: str, arguments: Sequence[str]) -> int:
    """Runs one of its commands on this terminal.

    Args:
        module: such as whippet_training.train.
        prog: what the command calls itself in its help.
        arguments: what follows the command.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C; the command has ended and tidied up by then. SystemExit likewise.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env={**os.environ, "WHIPPET_PROG": prog}
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(TIDYING)  # a terminal sends Ctrl-C to both
            except subprocess.TimeoutExpired:
                process.terminate()
            raise
        except BaseException:
            process.terminate()
            raise


def ask_training(module: str, prog: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Runs one of its commands that prints JSON.

    Returns:
        What it printed; None where it failed, after it has said why on this terminal.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "WHIPPET_PROG": prog},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        return None
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed
