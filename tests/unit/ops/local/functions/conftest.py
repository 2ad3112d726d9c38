"""What the tests of functions share."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from whippet.local.gateway import Gateway
from whippet.local.server import Server, listen


@dataclass
class Function:
    """The function of a test, as its clients see it."""

    local_aws: Any
    name: str = "function"

    @property
    def api(self) -> Any:
        """The client of Lambda."""
        return self.local_aws.client("lambda")

    def answer(self, event: Any = None, **options: Any) -> dict[str, Any]:
        """The answer of Invoke, with its payload read."""
        payload = json.dumps(event).encode()
        answer = self.api.invoke(**{"FunctionName": self.name, "Payload": payload, **options})
        return {**answer, "Payload": answer["Payload"].read()}

    def invoke(self, event: Any = None, **options: Any) -> Any:
        """What the function returns."""
        answer = self.answer(event, **options)
        assert "FunctionError" not in answer, answer["Payload"]
        return json.loads(answer["Payload"])

    def fail(self, event: Any = None, **options: Any) -> dict[str, Any]:
        """The error of a function that fails."""
        answer = self.answer(event, **options)
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        error: dict[str, Any] = json.loads(answer["Payload"])
        return error

    def refused(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> dict[str, Any]:
        """The answer to a call that is refused."""
        with pytest.raises(ClientError) as refused:
            call(*arguments, **named)
        return dict(refused.value.response)

    def tail(self, event: Any = None, **options: Any) -> list[str]:
        """The lines that an invocation logs."""
        answer = self.answer(event, LogType="Tail", **options)
        return base64.b64decode(answer["LogResult"]).decode().splitlines()

    def publish(self, source: str | None = None) -> str:
        """The number of a new version, of other code where it is given."""
        if source is not None:
            self.api.update_function_code(FunctionName=self.name, ZipFile=self.local_aws.zip_of(source))
        version: str = self.api.publish_version(FunctionName=self.name)["Version"]
        return version

    def environments(self) -> tuple[int, int]:
        """How many environments there are, and how many are at work."""
        [found] = [one for one in self.local_aws.gateway.status()["functions"] if one["name"] == self.name]
        return found["environments"], found["busy"]

    @staticmethod
    def runs(pid: int) -> bool:
        """Whether a process is there, and more than a zombie."""
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def end(self, pid: int) -> None:
        """Ends a process from outside, until local AWS has noticed."""
        os.kill(pid, signal.SIGKILL)
        self.local_aws.eventually(lambda: f"output-{pid}" not in {thread.name for thread in threading.enumerate()})

    def pids(self) -> list[int]:
        """The processes of all functions."""
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if "awslambdaric" in " ".join(_command(child))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


@pytest.fixture
def function(local_aws: Any) -> Function:
    return Function(local_aws)


@pytest.fixture
def local_aws_with(local_aws: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a local AWS that has other settings."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Any:
            listener = listen(0)
            changed = replace(local_aws.settings, home=tmp_path, port=listener.getsockname()[1], **settings)
            gateway = type(local_aws.gateway)(changed, pid=0, random=Random(0))
            stack.callback(gateway.stop)
            stack.enter_context(Server(gateway, listener))
            return replace(local_aws, settings=changed, gateway=gateway, _clients={})

        yield make


@pytest.fixture(autouse=True)
def nothing_is_left(running: Any) -> Iterator[None]:
    """After each test no process of a function runs, and no folder of one is left."""
    yield
    gateway: Gateway = running.gateway
    function = Function(running)
    # The fixtures of the test, which end everything, are torn down before this one is.
    assert function.pids() == []
    left = [path.name for path in gateway._settings.work.iterdir() if path.name != "runtime"]
    assert left == [], left
