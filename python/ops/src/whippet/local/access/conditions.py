"""The conditions of policies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from whippet.local.access.patterns import Context, arn_matches, matches, plain, resolve

#: Whether the value in a request fits the value in a policy.
_Test = Callable[[str, str], bool]


def _number(compare: Callable[[float, float], bool]) -> _Test:
    return lambda actual, value: compare(float(actual), float(value))


def _time(compare: Callable[[float, float], bool]) -> _Test:
    return lambda actual, value: compare(_seconds(actual), _seconds(value))


def _seconds(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time, or of such a number."""
    if re.fullmatch(r"-?\d{5,}(\.\d+)?", text):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_network(actual: str, value: str) -> bool:
    return ipaddress.ip_address(actual) in ipaddress.ip_network(value, strict=False)


_TESTS: dict[str, _Test] = {
    "stringequals": lambda actual, value: actual == plain(value),
    "stringequalsignorecase": lambda actual, value: actual.casefold() == plain(value).casefold(),
    "stringlike": lambda actual, value: matches(value, actual),
    "arnequals": lambda actual, value: arn_matches(value, actual),
    "arnlike": lambda actual, value: arn_matches(value, actual),
    "bool": lambda actual, value: actual.lower() == value.lower(),
    "binaryequals": lambda actual, value: actual == value,
    "ipaddress": _in_network,
    "numericequals": _number(lambda actual, value: actual == value),
    "numericlessthan": _number(lambda actual, value: actual < value),
    "numericlessthanequals": _number(lambda actual, value: actual <= value),
    "numericgreaterthan": _number(lambda actual, value: actual > value),
    "numericgreaterthanequals": _number(lambda actual, value: actual >= value),
    "dateequals": _time(lambda actual, value: actual == value),
    "datelessthan": _time(lambda actual, value: actual < value),
    "datelessthanequals": _time(lambda actual, value: actual <= value),
    "dategreaterthan": _time(lambda actual, value: actual > value),
    "dategreaterthanequals": _time(lambda actual, value: actual >= value),
}

#: Operators that say the contrary of another.
_NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
    "notipaddress": "ipaddress",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
}

_OPERATOR = re.compile(r"(?:(?P<set>forallvalues|foranyvalue):)?(?P<name>\w+?)(?P<if_exists>ifexists)?")


@dataclass(frozen=True)
class Condition:
    """One line of a Condition element.

    Attributes:
        operator: as in `StringLike` or `ForAnyValue:StringEqualsIfExists`.
        key: the condition key, in lower case.
        values: of which one must fit; of an operator that says Not, none.
    """

    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, context: Context) -> bool | None:
        """Whether a request fulfils it; None where local AWS does not know the operator."""
        parsed = _OPERATOR.fullmatch(self.operator.lower())
        if parsed is None:
            return None
        actual = context.get(self.key)
        if parsed["name"] == "null":
            return any((actual is None) == (value.lower() == "true") for value in self.values)
        test = _TESTS.get(_NEGATED.get(parsed["name"], parsed["name"]))
        if test is None:
            return None
        is_negated = parsed["name"] in _NEGATED
        if actual is None or (not isinstance(actual, str) and not actual):
            # Nothing is in every set, and in none is anything.
            return parsed["set"] == "forallvalues" or (
                parsed["set"] is None and (is_negated or parsed["if_exists"] is not None)
            )
        expected = [value for value in (resolve(value, context) for value in self.values) if value is not None]
        fits = [
            any(_fits(test, one, value) for value in expected) != is_negated
            for one in ([actual] if isinstance(actual, str) else actual)
        ]
        # A key with several values and no word for how they count must not let more through than one value would.
        return all(fits) if parsed["set"] == "forallvalues" or (is_negated and parsed["set"] is None) else any(fits)


def _fits(test: _Test, actual: str, value: str) -> bool:
    try:
        return test(actual, value)
    except ValueError:  # one of the two is no number, time or address
        return False
