"""Divides photos among processes that compute features together, and puts together what each has computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Group(Protocol):
    """The processes of a training (distributed.py)."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def gather(self, value: Any, /) -> list[Any]:
        """What every process hands over, by rank; all must call it."""
        ...


def shard(work: Mapping[bytes, int], rank: int, size: int) -> list[bytes]:
    """The part of the work that one process does.

    All processes find the same parts without a word to one another, whatever the files are called and whatever each has
    cached: every content belongs to one part, and parts differ by one content, and by one of any given amount of work.

    Args:
        work: How much there is to do for a content: its number of views.
        rank: The process.
        size: How many processes there are.
    """
    return sorted(work, key=lambda content: (-work[content], content))[rank::size]


def merge(parts: list[dict[T, Any]]) -> dict[T, Any]:
    """What several processes have found, as one."""
    return {key: value for part in parts for key, value in part.items()}
