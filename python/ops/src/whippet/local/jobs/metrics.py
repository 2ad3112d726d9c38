"""Reads the metrics that a training job prints.

https://docs.aws.amazon.com/sagemaker/latest/dg/define-train-metrics.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

#: Letters of a line that are searched: a line of megabytes must not hold up everything else.
MAX_LINE = 10_000


class MetricReader:
    """Finds values in lines.

    Args:
        definitions: Name and Regex of each metric.

    Raises:
        ValueError: a regular expression is none, or has no group for the value.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for definition in definitions:
            name, regex = definition["Name"], definition["Regex"]
            try:
                pattern = re.compile(regex)
            except re.error as error:
                raise ValueError(f"Regex {regex!r} of metric {name!r} is invalid: {error}.") from None
            if not pattern.groups:
                raise ValueError(f"Regex {regex!r} of metric {name!r} has no group that captures the value.")
            self._patterns.append((name, pattern))

    def read(self, lines: Iterable[str]) -> Iterator[tuple[str, float]]:
        """The names and values in some lines, in the order in which they stand there."""
        for line in lines:
            for name, pattern in self._patterns:
                for match in pattern.finditer(line[:MAX_LINE]):
                    if (value := _number(match[1])) is not None:
                        yield name, value


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
