"""This project's server, as its users run it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _load import Side
from peers.process import free_ports, started


@contextmanager
def serve(model: Path, work: Path, name: str = "whippet_serving", *options: str) -> Iterator[Side]:
    """Run whippet_serving with the settings it has by itself, or with options."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "whippet_serving", "--model", model.resolve(), "--port", str(port), *options]
    url = f"http://127.0.0.1:{port}"
    with started(name, command, work, f"{url}/ping", {}) as pid:
        yield Side(name, f"{url}/invocations", lambda answer: str(answer["predictions"][0]["label"]), pid)
