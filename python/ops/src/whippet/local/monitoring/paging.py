"""Cuts what a Describe or List operation found into pages."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TypeVar

from whippet.local.calls import AwsError

Item = TypeVar("Item")


def page(
    items: Sequence[Item], token: str | None, size: int, error: str = "InvalidNextToken"
) -> tuple[list[Item], str | None]:
    """One page of a list, and the token of the next one.

    Args:
        items: all there is.
        token: as the last page came with; the first page without one.
        size: how many a page has.
        error: the code of the error for any other token.

    Raises:
        AwsError: the token is not one of these.
    """
    try:
        start = int(base64.b64decode(token, validate=True)) if token else 0
    except ValueError:
        raise AwsError(error, "The next token is invalid.") from None
    end = start + size
    return list(items[start:end]), base64.b64encode(str(end).encode()).decode() if end < len(items) else None
