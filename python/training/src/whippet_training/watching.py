"""What a person asks to watch a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Watching:
    """What watches a training; nothing of it changes the result but a rule that stops.

    Attributes:
        actions: What rules do that do not what they do by default, by their names.
    """

    actions: Mapping[str, str] = field(default_factory=dict)
