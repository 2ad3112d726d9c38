"""The notebook's start script and what it leaves behind, run for real: a folder is the machine, a server is Jupyter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from whippet.terraform import Terraform

FILES = Path(__file__).parents[2] / "terraform/modules/notebook/files"

#: Writes its arguments down; a copy from S3 makes the file.
AWS = """\
#!/bin/bash
echo "$@" >>"$CALLS"
if [ "$1 $2" = "s3 cp" ]; then echo fetched >"${@: -1}"; fi
"""


class Machine:
    """A folder that holds the instance's disk, and the commands that the scripts call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.calls = folder / "calls"
        for path in ("home", "bin", "usr/local/bin", "etc/cron.d"):
            (folder / path).mkdir(parents=True)
        for name, text in {"aws": AWS, "chown": "#!/bin/bash\n"}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        # Where python3 is a shim of pyenv, what it runs finds other commands first.
        (folder / "bin" / "python3").symlink_to(sys.executable)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(self.calls)}

    def start(self, idle_minutes: int | None = 60, uris: tuple[str, ...] = ()) -> None:
        """Starts the instance: runs the script as the module renders it."""
        variables = {
            "region": "us-east-1",
            "notebook": "whippet-dev",
            "idle_minutes": idle_minutes,
            "stop_when_idle": (FILES / "stop_when_idle.py").read_text(),
            "uris": uris,
            "home": str(self.home),
            "root": str(self.folder),
        }
        renderer = self.folder / "renderer"
        renderer.mkdir(exist_ok=True)
        call = f'templatefile({json.dumps(str(FILES / "on_start.sh.tftpl"))}, jsondecode(file("variables.json")))'
        (renderer / "variables.json").write_text(json.dumps(variables))
        (renderer / "main.tf").write_text(f'output "script" {{\n  value = {call}\n}}\n')
        terraform = Terraform(renderer)
        terraform.run("apply", "-auto-approve")
        script = self.folder / "on_start.sh"
        script.write_text(terraform.output()["script"])
        shellcheck = Path(sys.executable).with_name("shellcheck")
        subprocess.run([shellcheck, script], check=True)
        subprocess.run(["bash", script], env=self.environment, check=True)

    def has_been_up(self, minutes: float) -> None:
        """Makes the script read its uptime from a file of this folder."""
        script, uptime = self.folder / "usr/local/bin/stop-when-idle", self.folder / "uptime"
        script.write_text(script.read_text().replace("/proc/uptime", str(uptime)))
        uptime.write_text(f"{minutes * 60:.2f} 0.00\n")

    def look(self, jupyter: str) -> str:
        """Runs what cron runs; what it prints."""
        line = next(
            line for line in (self.folder / "etc/cron.d/stop-when-idle").read_text().splitlines() if "*/5" in line
        )
        command = line.split("root ", 1)[1].split(">>")[0].replace("/usr/local", f"{self.folder}/usr/local")
        done = subprocess.run(
            ["bash", "-c", f"{command} {jupyter}"], env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout


class Jupyter:
    """What Jupyter's API tells of kernels and terminals."""

    def __init__(self) -> None:
        told: dict[str, list[dict[str, Any]]] = {"/api/kernels": [], "/api/terminals": []}
        self.kernels, self.terminals = told["/api/kernels"], told["/api/terminals"]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(told[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def used(hours_ago: float, state: str = "idle") -> dict[str, str]:
        moment = datetime.now(UTC) - timedelta(hours=hours_ago)
        return {"execution_state": state, "last_activity": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def jupyter() -> Iterator[Jupyter]:
    jupyter = Jupyter()
    thread = threading.Thread(target=jupyter.server.serve_forever)
    thread.start()
    yield jupyter
    jupyter.server.shutdown()
    thread.join()
    jupyter.server.server_close()


def calls(machine: Machine) -> list[str]:
    return machine.calls.read_text().splitlines() if machine.calls.exists() else []


STOP = "sagemaker stop-notebook-instance --notebook-instance-name whippet-dev --region us-east-1"


def test_notebooks_are_put_in_place_once(machine: Machine) -> None:
    uris = ("s3://bucket/notebooks/0123/new.ipynb", "s3://bucket/notebooks/0123/changed.ipynb")
    (machine.home / "changed.ipynb").write_text("by hand")
    machine.start(uris=uris)
    assert (machine.home / "new.ipynb").read_text() == "fetched\n"
    assert (machine.home / "changed.ipynb").read_text() == "by hand"
    assert len(calls(machine)) == 1


def test_an_instance_that_may_idle_gets_no_watch(machine: Machine) -> None:
    machine.start(idle_minutes=None)
    assert list((machine.folder / "etc/cron.d").iterdir()) == []


@pytest.mark.parametrize("idle_minutes", [10, 60])
def test_an_instance_that_nobody_uses_is_stopped(machine: Machine, jupyter: Jupyter, idle_minutes: int) -> None:
    machine.start(idle_minutes)
    machine.has_been_up(minutes=idle_minutes - 1)
    machine.look(jupyter.url)
    assert calls(machine) == []
    machine.has_been_up(minutes=idle_minutes + 1)
    machine.look(jupyter.url)
    assert calls(machine) == [STOP]


@pytest.mark.parametrize(
    ("kernel", "terminal", "stops"),
    [
        (2.0, 3.0, True),
        (0.5, 3.0, False),
        (2.0, 0.5, False),
    ],
)
def test_a_kernel_or_a_terminal_in_use_keeps_it_up(
    machine: Machine, jupyter: Jupyter, kernel: float, terminal: float, stops: bool
) -> None:
    machine.start()
    machine.has_been_up(minutes=1500)
    jupyter.kernels.append(Jupyter.used(kernel))
    jupyter.terminals.append(Jupyter.used(terminal))
    machine.look(jupyter.url)
    assert calls(machine) == ([STOP] if stops else [])


def test_a_running_cell_keeps_it_up_however_long_it_takes(machine: Machine, jupyter: Jupyter) -> None:
    machine.start()
    machine.has_been_up(minutes=1500)
    jupyter.kernels.append(Jupyter.used(20, state="busy"))
    assert machine.look(jupyter.url) == "whippet-dev: idle for 0 s\n"
    assert calls(machine) == []
