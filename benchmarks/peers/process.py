"""Starts servers as process groups of their own, installs them, and ends all that they started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

import _bench
from _load import BenchmarkError

ROOT = _bench.BENCH_DIR.parent.parent
START_S = 300
"""torch.compile takes most of it, the first time."""
INSTALL_S = 900


def install(name: str, packages: Sequence[str]) -> Path:
    """Install a peer into an environment of its own; PyTorch and OpenVINO are those that are installed here.

    Returns:
        The environment's folder of commands.

    Raises:
        BenchmarkError: If it cannot be installed.
    """
    environment = _bench.BENCH_DIR / f"{name}-venv"
    commands = environment / "bin"
    installed = environment / ".installed"
    wanted = "\n".join(packages)
    if installed.exists() and installed.read_text() == wanted:
        return commands
    print(f"Installing {' '.join(packages)}", flush=True)
    venv.create(environment, with_pip=True, clear=True)
    pip = [commands / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *packages]
    try:
        result = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{name} takes more than {INSTALL_S} s to install: try again") from None
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise BenchmarkError(f"{name} cannot be installed: {lines[0]}")
    # the same PyTorch, OpenVINO and Pillow on all sides, without another 5 GB
    [site_packages] = environment.glob("lib/python3*/site-packages")
    (site_packages / "benchmark.pth").write_text(sysconfig.get_path("purelib") + "\n")
    installed.write_text(wanted)
    return commands


def need_java() -> None:
    """Look for the JRE that TorchServe runs on.

    Raises:
        BenchmarkError: If there is none.
    """
    if not shutil.which("java"):
        raise BenchmarkError("TorchServe needs Java 11 or newer on PATH: install a JRE, for example openjdk-17-jre.")


@contextmanager
def started(
    name: str, command: Sequence[str | Path], work: Path, ready_url: str, environment: Mapping[str, str]
) -> Iterator[int]:
    """Run a server until the context ends, and wait until it answers.

    Args:
        name: For messages.
        command: Starts it.
        work: A folder of its own; the working directory, with the server's output.
        ready_url: Answers 200 once the server is ready.
        environment: Added to this process's.

    Yields:
        The id of its process group.

    Raises:
        BenchmarkError: If it ends, or is not ready in time.
    """
    work.mkdir(parents=True, exist_ok=True)
    log = work / "output.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # out of Ctrl-C's reach: it is ended below
        )
        try:
            _wait(name, process, ready_url, log)
            yield process.pid
        finally:
            end_group(process)


def _wait(name: str, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if "ERROR" in line or "rror:" in line] or lines[-1:] or ["it says nothing"]
    raise BenchmarkError(f"{name} does not start: {told[-1].strip()[:300]}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; TorchServe's launcher is gone long before its Java process is."""
    for signal_, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, signal_)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            break
    process.wait()


def resident_mb(group: int) -> float:
    """Memory in MB of a process group and of all that its processes started; what they share counts once (PSS)."""
    total = 0
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == group:
                total += process.memory_full_info().pss
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return total / 1e6


def free_ports(number: int) -> list[int]:
    """Find ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in sockets]
