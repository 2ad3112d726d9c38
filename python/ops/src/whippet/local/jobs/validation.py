"""Checks the parameters of a call against botocore's model of them, in the words of AWS.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from whippet.local.calls import AwsError, Call


def check(call: Call) -> None:
    """Checks what a call asks for.

    Raises:
        AwsError: ValidationException, with everything that is wrong.
    """
    model = call.operation_model
    assert model is not None  # noqa: S101 - only operations that botocore knows have handlers
    if found := list(_faults(call.params, model.input_shape, "")):
        errors = "error" if len(found) == 1 else "errors"
        raise AwsError("ValidationException", f"{len(found)} validation {errors} detected: {'; '.join(found)}")


def _faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    match shape.type_name:
        case "structure":
            yield from _structure_faults(value, shape, where)
        case "list":
            yield from _size_faults(value, len(value), "length", shape, where)
            for number, one in enumerate(value, 1):
                yield from _faults(one, shape.member, f"{where}.{number}.member")
        case "map":
            yield from _size_faults(value, len(value), "length", shape, where)
            for key, one in value.items():
                yield from _faults(one, shape.value, f"{where}.{key}.member")
        case "string":
            yield from _string_faults(value, shape, where)
        case "integer" | "long" | "float" | "double":
            yield from _size_faults(value, value, "value", shape, where)


def _structure_faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _faults(value[name], member, _member(where, name))
        elif name in shape.required_members:
            yield _fault("null", _member(where, name), "Member must not be null")


def _string_faults(value: str, shape: Any, where: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield _fault(f"'{value}'", where, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    yield from _size_faults(value, len(value), "length", shape, where)
    pattern = shape.metadata.get("pattern")
    if pattern and (compiled := _compiled(pattern)) and not compiled.fullmatch(value):
        yield _fault(f"'{value}'", where, f"Member must satisfy regular expression pattern: {pattern}")


def _size_faults(value: Any, size: float, what: str, shape: Any, where: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield _fault(f"'{value}'", where, f"Member must have {what} greater than or equal to {least}")
    if most is not None and size > most:
        yield _fault(f"'{value}'", where, f"Member must have {what} less than or equal to {most}")


def _fault(value: str, where: str, constraint: str) -> str:
    return f"Value {value} at '{where}' failed to satisfy constraint: {constraint}"


def _member(where: str, name: str) -> str:
    lowered = name[0].lower() + name[1:]
    return f"{where}.{lowered}" if where else lowered


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern; None where it has what Java knows and Python does not, such as classes of Unicode."""
    try:
        return re.compile(pattern)
    except re.error:
        return None
