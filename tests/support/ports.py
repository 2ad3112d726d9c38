"""Ports for the servers of tests."""

from __future__ import annotations

import random
import socket

#: Below those that Linux and macOS lend to outgoing connections, of which one may take a port before its server does.
PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on; the next caller, in whichever process, hardly gets the same."""
    while True:
        port = random.SystemRandom().choice(PORTS)  # pytest's plugins seed the usual numbers alike in every worker
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
