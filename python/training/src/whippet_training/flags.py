"""Command-line flags from the fields of a dataclass, so that a setting is described in one place."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_args, get_type_hints


def with_flags_of(kind: type, prefix: str, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a Typer command a flag for every field of a dataclass; the command finds them in its context's parameters.

    Args:
        kind: A dataclass whose fields have defaults and are annotated with ``typer.Option``.
        prefix: Before each field's name.
        panel: Heading of these flags in ``--help``.
    """
    hints = get_type_hints(kind, include_extras=True)
    added = []
    for field in fields(kind):
        value_type, option = get_args(hints[field.name])
        option = copy.copy(option)
        option.rich_help_panel = panel
        annotation = Annotated[value_type, option]  # type: ignore[valid-type]
        added.append(
            inspect.Parameter(
                prefix + field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
            )
        )
    names = {parameter.name for parameter in added}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def without_them(**given: Any) -> None:
            command(**{name: value for name, value in given.items() if name not in names})

        signature = inspect.signature(command, eval_str=True)
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()]
        decorated: Any = without_them
        decorated.__doc__ = command.__doc__
        decorated.__signature__ = signature.replace(parameters=[*own, *added])
        decorated.__annotations__ = {one.name: one.annotation for one in [*own, *added]}
        result: Callable[..., None] = decorated
        return result

    return decorate
