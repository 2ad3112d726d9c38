"""How many second tries an environment may spend.

A second try helps with faults that pass. While everything fails it only adds load, so each costs tokens, which answers
earn back: the retry quota of the SDKs' standard mode.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

from __future__ import annotations

#: Ten second tries in a row, and after that one for every five answers. An SDK's quota is for a process that makes many
#: calls at once; an environment makes one at a time.
CAPACITY = 50
COST = 5
INCOME = 1


class RetryBudget:
    """The tokens of one environment."""

    def __init__(self) -> None:
        self._tokens = CAPACITY

    def spend(self) -> bool:
        """Takes the tokens of a second try; False where there are not enough."""
        if self._tokens < COST:
            return False
        self._tokens -= COST
        return True

    def earn(self) -> None:
        """Notes an answer."""
        self._tokens = min(CAPACITY, self._tokens + INCOME)
