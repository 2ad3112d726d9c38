"""Keeps the state of local AWS on disk, so that it survives the end of the process."""

from __future__ import annotations


class State:
    """What is on disk."""

    def changed(self, service: str, region: str) -> None:
        """Saves what one service holds in one region, before the caller is answered."""
