"""What local AWS remembers beside moto's own records: on moto's objects, so that it is reset and saved with them."""

from __future__ import annotations

from typing import Any


def shelf(backend: Any, name: str) -> dict[Any, Any]:
    """A dictionary that belongs to one of moto's backends: one account and region of one service.

    What lies on it must be picklable: see `state`.
    """
    found: dict[Any, Any] = backend.__dict__.setdefault("whippet_" + name, {})
    return found
