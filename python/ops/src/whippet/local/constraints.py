"""Holds parameters to botocore's model of them, as AWS does before anything else: clients check next to nothing of it.

What is required, how long or large it may be, which pattern it must match, and what an enumeration allows:
https://smithy.io/2.0/spec/constraint-traits.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call
from whippet.local.services import Forward, Handler, Handlers


def constrained(handlers: Handlers, code: str = "ValidationException") -> Handlers:
    """The same handlers, which get no parameters that their operations do not allow.

    Args:
        handlers: by service and operation.
        code: the error of such parameters.
    """
    return {operation: _constrained(handler, code) for operation, handler in handlers.items()}


def _constrained(handler: Handler, code: str) -> Handler:
    def handle(call: Call, forward: Forward) -> Response:
        check(call, code)
        return handler(call, forward)

    return handle


def check(call: Call, code: str) -> None:
    """Checks the parameters of a call.

    Raises:
        AwsError: one of them is not allowed; the message tells all of them, in AWS's words.
    """
    model = call.operation_model
    if model is None or model.input_shape is None:
        return
    found = list(_faults(model.input_shape, call.params, ""))
    if found:
        noun = "validation error" if len(found) == 1 else "validation errors"
        raise AwsError(code, f"{len(found)} {noun} detected: {'; '.join(found)}")


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """What is wrong with a value and with all that it holds."""
    for rule in _broken(shape, value):
        yield f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: Member must {rule}"
    match shape:
        case StructureShape():
            for name in shape.required_members:
                if name not in value:
                    member = _joined(path, _lower(name))
                    yield f"Value null at '{member}' failed to satisfy constraint: Member must not be null"
            for name, member in value.items():
                if name in shape.members:
                    yield from _faults(shape.members[name], member, _joined(path, _lower(name)))
        case ListShape():
            for place, member in enumerate(value, 1):
                yield from _faults(shape.member, member, _joined(path, f"{place}.member"))
        case MapShape():
            for name, member in value.items():
                yield from _faults(shape.key, name, _joined(path, f"{name}.key"))
                yield from _faults(shape.value, member, _joined(path, f"{name}.member"))


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The rules that a value itself breaks, as what it must do."""
    metadata = shape.metadata
    is_number = shape.type_name in ("integer", "long", "float", "double")
    size, what = (value, "value") if is_number else (len(value) if hasattr(value, "__len__") else None, "length")
    is_sized = True
    if size is not None:
        if (least := metadata.get("min")) is not None and size < least:
            is_sized = False
            yield f"have {what} greater than or equal to {least}"
        if (most := metadata.get("max")) is not None and size > most:
            is_sized = False
            yield f"have {what} less than or equal to {most}"
    # Only of what is not too long: a pattern can take very long over it.
    if is_sized and (pattern := _compiled(metadata.get("pattern", ""))) and not pattern.fullmatch(value):
        yield f"satisfy regular expression pattern: {metadata['pattern']}"
    if (allowed := metadata.get("enum")) and value not in allowed:
        yield f"satisfy enum value set: [{', '.join(allowed)}]"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern; None where it is none that Python understands, since they are Java's."""
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
