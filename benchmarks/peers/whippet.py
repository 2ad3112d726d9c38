"""This project's server, as its users run it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _load import Side
from peers.process import free_ports, started


@contextmanager
def serve(model: Path, work: Path) -> Iterator[Side]:
    """Run whippet_serving with the settings it has by itself."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "whippet_serving", "--model", model.resolve(), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with started("whippet_serving", command, work, f"{url}/ping", {}) as pid:
        yield Side("whippet_serving", f"{url}/invocations", lambda answer: str(answer["predictions"][0]["label"]), pid)
