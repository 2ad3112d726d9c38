"""Metric math, and the rules of composite alarms: small languages, evaluated without Python's eval.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

#: Values by the start of their period, in seconds since 1970.
Points = dict[int, float]
#: What an expression can be while it is evaluated.
Value = float | Points | list[Points]


class ExpressionError(Exception):
    """An expression cannot be evaluated; the text says why."""


def evaluate(expression: str, metrics: Mapping[str, Points]) -> Points:
    """Computes a time series.

    Args:
        expression: as in `m1 / m2 * 100`, `SUM([m1, m2])`, `FILL(m1, 0)` or `IF(m1 > 5, m1, 0)`.
        metrics: the series by their ids.

    Raises:
        ExpressionError: the expression is not understood, names an unknown id or gives no series.
    """
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"Invalid syntax in the expression {expression}") from error
    value = _evaluate(tree.body, metrics)
    if isinstance(value, dict):
        return value
    raise ExpressionError(f"The expression {expression} does not give a time series")


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


def _evaluate(node: ast.expr, metrics: Mapping[str, Points]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in metrics:
            return metrics[name]
        case ast.Name(id=name):
            raise ExpressionError(f"Unknown metric or function {name}")
        case ast.List(elts=elements):
            series = [_evaluate(element, metrics) for element in elements]
            if all(isinstance(one, dict) for one in series):
                return [one for one in series if isinstance(one, dict)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine(operator.mul, -1.0, _evaluate(operand, metrics))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combine(_BINARY[type(op)], _evaluate(left, metrics), _evaluate(right, metrics))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            compare = _COMPARISONS[type(op)]
            return _combine(
                lambda one, two: float(compare(one, two)), _evaluate(left, metrics), _evaluate(right, metrics)
            )
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, metrics)
    raise ExpressionError("Unsupported syntax in a metric math expression")


def _call(name: str, arguments: list[ast.expr], metrics: Mapping[str, Points]) -> Value:
    if name == "METRICS" and not arguments:
        return list(metrics.values())
    values = [_evaluate(argument, metrics) for argument in arguments]
    match name, values:
        case "FILL", [dict() as series, float() as filler]:
            return {at: series.get(at, filler) for at in sorted({at for one in metrics.values() for at in one})}
        case "IF", [dict() as condition, *branches] if len(branches) in (1, 2):
            return _choose(condition, branches)
        case _, [list() as group] if name in _AGGREGATES:
            instants = sorted({at for one in group for at in one})
            return {at: _AGGREGATES[name]([one[at] for one in group if at in one]) for at in instants}
        case _, [dict() as series] if name in _AGGREGATES:
            return _AGGREGATES[name](list(series.values())) if series else {}
        case _, [dict() as series] if name in _ROUNDINGS:
            return {at: _ROUNDINGS[name](value) for at, value in series.items()}
    raise ExpressionError(f"Unknown function {name}, or not with these arguments")


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
        return _truth(ast.parse(" ".join(words), mode="eval").body)
    except SyntaxError as error:
        raise ExpressionError("AlarmRule is not a logical expression") from error


def _truth(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand)
        case ast.BoolOp(op=op, values=values):
            return (all if isinstance(op, ast.And) else any)(_truth(value) for value in values)
    raise ExpressionError("AlarmRule is not a logical expression")
