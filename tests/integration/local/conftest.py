"""Local AWS as the process that `whippet local up` starts, with its files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from support.stack import ROOT, Stack, pack
from whippet.local import control


class Daemon:
    """A port, and what tests do with the local AWS on it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.session: int | None = None

    def up(self, **options: Any) -> control.Status:
        status = control.up(self.port, **options)
        self.session = status.pid
        return status

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=control.url(self.port),
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
        )

    def processes(self) -> list[psutil.Process]:
        """Everything that local AWS has started and that still runs, itself included."""
        members = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.session and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return members

    @staticmethod
    def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
        """The first true value of a condition."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout} s")


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("WHIPPET_HOME", str(tmp_path / "whippet"))
    daemon = Daemon()
    yield daemon
    control.down(daemon.port)


@pytest.fixture
def stack(daemon: Daemon, tmp_path: Path, tiny_model: Path) -> Stack:
    """The root module in a folder of its own, with this project's server behind the endpoint."""
    daemon.up()
    function = tmp_path / "function.zip"
    shutil.make_archive(str(function.with_suffix("")), "zip", ROOT / "python" / "lambda" / "src")
    return Stack(tmp_path / "terraform", daemon.port, pack(tiny_model, tmp_path / "model.tar.gz"), function)
