"""Metric math, and the rules of composite alarms: small languages, evaluated without Python's eval.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

#: Characters that are read of an expression or a rule, the most that CloudWatch allows of either:
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
MAX_LENGTH = 10_240

#: Values by the start of their period, in seconds since 1970.
Points = dict[int, float]
#: What an expression can be while it is evaluated.
Value = float | Points | list[Points]


class ExpressionError(Exception):
    """An expression cannot be evaluated; the text says why."""


@dataclass(frozen=True)
class Scope:
    """What an expression can name.

    Attributes:
        series: time series by their ids.
        metrics: the ids of those that are metrics and no expressions: METRICS() means these.
        instants: the start of every period that is asked for, whether or not there are values: FILL fills these.
        period: seconds between two instants.
    """

    series: Mapping[str, Points]
    metrics: Collection[str]
    instants: Sequence[int]
    period: int


def evaluate(expression: str, scope: Scope) -> Points:
    """Computes a time series.

    Args:
        expression: as in `m1 / m2 * 100`, `SUM([m1, m2])`, `FILL(m1, 0)` or `IF(m1 > 5, m1, 0)`.
        scope: what it can name.

    Raises:
        ExpressionError: the expression is not understood, names an unknown id or gives no series.
    """
    try:
        value = _evaluate(_parse(expression.replace("^", "**")), scope)
    except RecursionError as error:
        raise ExpressionError("The expression is nested too deeply") from error
    if isinstance(value, dict):
        return value
    raise ExpressionError(f"The expression {expression} does not give a time series")


def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"An expression has at most {MAX_LENGTH} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError("Invalid syntax in the expression") from error


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "SUM": math.fsum,
    "AVG": lambda values: math.fsum(values) / len(values),
    "MIN": min,
    "MAX": max,
}
_ROUNDINGS: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": lambda value: float(math.ceil(value)),
    "FLOOR": lambda value: float(math.floor(value)),
}


def _evaluate(node: ast.expr, scope: Scope) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number) if abs(number) <= sys.float_info.max:
            return float(number)
        case ast.Name(id=name) if name in scope.series:
            return scope.series[name]
        case ast.Name(id=name):
            raise ExpressionError(f"Unknown metric or function {name}")
        case ast.List(elts=elements):
            series = [_evaluate(element, scope) for element in elements]
            if all(isinstance(one, dict) for one in series):
                return [one for one in series if isinstance(one, dict)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine(operator.mul, -1.0, _evaluate(operand, scope))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combine(_BINARY[type(op)], _evaluate(left, scope), _evaluate(right, scope))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            compare = _COMPARISONS[type(op)]
            return _combine(lambda one, two: float(compare(one, two)), _evaluate(left, scope), _evaluate(right, scope))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, scope)
    raise ExpressionError("Unsupported syntax in a metric math expression")


def _call(name: str, arguments: list[ast.expr], scope: Scope) -> Value:
    if name == "METRICS" and not arguments:
        return [scope.series[one] for one in scope.metrics]
    values = [_evaluate(argument, scope) for argument in arguments]
    match name, values:
        case "FILL", [dict() as series, float() as filler]:
            return {at: series.get(at, filler) for at in scope.instants}
        case "PERIOD", [dict()]:
            return float(scope.period)
        case "IF", [dict() as condition, *branches] if len(branches) in (1, 2):
            return _choose(condition, branches)
        case _, [list() as group] if name in _AGGREGATES:
            instants = sorted({at for one in group for at in one})
            totals = {at: _aggregate(name, [one[at] for one in group if at in one]) for at in instants}
            return {at: value for at, value in totals.items() if value is not None}
        case _, [dict() as series] if name in _AGGREGATES:
            value = _aggregate(name, list(series.values()))
            return {} if value is None else value
        case _, [dict() as series] if name in _ROUNDINGS:
            return {at: _ROUNDINGS[name](value) for at, value in series.items()}
    raise ExpressionError(f"Unknown function {name}, or not with these arguments")


def _aggregate(name: str, values: list[float]) -> float | None:
    """The aggregate of values, None where there are none or it is beyond all numbers."""
    try:
        return _AGGREGATES[name](values) if values else None
    except OverflowError:
        return None


def _choose(condition: Points, branches: list[Value]) -> Points:
    chosen: Points = {}
    for at, holds in condition.items():
        branch = branches[0] if holds else branches[1] if len(branches) == 2 else {}
        if isinstance(branch, float):
            chosen[at] = branch
        elif isinstance(branch, dict) and at in branch:
            chosen[at] = branch[at]
    return chosen


def _combine(operation: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Applies an operation at each instant that both sides have; where it has no result there is no value."""
    if isinstance(left, list) or isinstance(right, list):
        raise ExpressionError("A list of metrics can only be the argument of a function")
    if isinstance(left, float) and isinstance(right, float):
        result = _apply(operation, left, right)
        if result is None:
            raise ExpressionError("An expression of constants has no value")
        return result
    instants = set.intersection(*(set(side) for side in (left, right) if isinstance(side, dict)))
    combined: Points = {}
    for at in sorted(instants):
        one = left[at] if isinstance(left, dict) else left
        two = right[at] if isinstance(right, dict) else right
        if (result := _apply(operation, one, two)) is not None:
            combined[at] = result
    return combined


def _apply(operation: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        result = operation(left, right)
    except (ZeroDivisionError, OverflowError):
        return None
    return result if isinstance(result, float) and math.isfinite(result) else None


_RULE_TOKEN = re.compile(
    r"""\s*(?: (?P<state>ALARM|OK|INSUFFICIENT_DATA) \s* \( \s* (?: "(?P<quoted>[^"]*)" | (?P<plain>[^\s()"]+) ) \s* \)
        | (?P<word>AND|OR|NOT|TRUE|FALSE|\(|\)) )\s*""",
    re.VERBOSE,
)


def holds(rule: str, state_of: Callable[[str], str | None]) -> bool:
    """Whether the rule of a composite alarm is met.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html

    Args:
        rule: as in `ALARM(one) AND NOT OK("two")`.
        state_of: the state of an alarm by its name or ARN; None where there is none.

    Raises:
        ExpressionError: the rule is not understood.
    """
    position, words = 0, []
    while position < len(rule):
        if not (token := _RULE_TOKEN.match(rule, position)):
            raise ExpressionError(f"AlarmRule is not understood from character {position + 1} on")
        position = token.end()
        if state := token["state"]:
            words.append(str(state_of(token["quoted"] or token["plain"]) == state))
        else:
            words.append({"TRUE": "True", "FALSE": "False"}.get(token["word"], token["word"].lower()))
    try:
        return _truth(_parse(" ".join(words)))
    except RecursionError as error:
        raise ExpressionError("AlarmRule is nested too deeply") from error


def alarms_in(rule: str) -> set[str]:
    """The names of the alarms that the rule of a composite alarm is about; one by its ARN too."""
    found: set[str] = set()

    def note(alarm: str) -> None:
        found.add(name_of(alarm))

    holds(rule, note)
    return found


def name_of(alarm: str) -> str:
    """The name of an alarm, which may be given as its ARN."""
    return alarm.rsplit(":alarm:", 1)[-1]


def _truth(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand)
        case ast.BoolOp(op=op, values=values):
            return (all if isinstance(op, ast.And) else any)(_truth(value) for value in values)
    raise ExpressionError("AlarmRule is not a logical expression")
