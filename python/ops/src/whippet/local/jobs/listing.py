"""Filters, sorts and cuts lists into pages, as SageMaker's List operations do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from whippet.local.calls import AwsError

Summary = dict[str, Any]

#: The default of MaxResults,
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ListHyperParameterTuningJobs.html
PAGE_SIZE = 10


def page(
    summaries: Iterable[Summary],
    params: Mapping[str, Any],
    keys: Mapping[str, Callable[[Summary], Any]],
    default_key: str,
) -> tuple[list[Summary], str | None]:
    """One page of a list, and the token of the next.

    Args:
        summaries: all there is.
        params: what the operation was asked for.
        keys: the values of SortBy, and what they sort by; `Name` and `Status` are what is filtered by, too.
        default_key: what is sorted by unless something is asked for.

    Raises:
        AwsError: ValidationException, the token is not one of these.
    """
    found = [one for one in summaries if _is_wanted(one, params, keys)]
    found.sort(key=keys[params.get("SortBy", default_key)], reverse=params.get("SortOrder") == "Descending")
    try:
        first = int(params.get("NextToken") or 0)
    except ValueError:
        raise AwsError("ValidationException", "The NextToken is invalid.") from None
    last = first + params.get("MaxResults", PAGE_SIZE)
    return found[first:last], str(last) if last < len(found) else None


def _is_wanted(one: Summary, params: Mapping[str, Any], keys: Mapping[str, Callable[[Summary], Any]]) -> bool:
    if params.get("NameContains", "") not in keys["Name"](one):
        return False
    if keys["Status"](one) != params.get("StatusEquals", keys["Status"](one)):
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        after, before = params.get(f"{member}After"), params.get(f"{member}Before")
        if (after and _told(one[member]) <= _told(after)) or (before and _told(one[member]) >= _told(before)):
            return False
    return True


def _told(moment: datetime) -> datetime:
    """A time as answers tell it, to the millisecond; parsed parameters are in UTC, and do not say so."""
    return moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
