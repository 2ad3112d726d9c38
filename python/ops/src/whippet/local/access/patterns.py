"""Wildcards and variables in policies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

#: What is known of a request: condition keys, in lower case, and their values. A key that can have several values has
#: a sequence of them.
Context = Mapping[str, str | Sequence[str]]

_ARN_FIELDS = 6

# Wildcards that a variable brought with it are no wildcards: they travel as characters that nobody else uses.
_LITERALS = {"*": "\ue000", "?": "\ue001", "$": "\ue002"}
_TO_LITERALS = str.maketrans(_LITERALS)
_FROM_LITERALS = str.maketrans({character: name for name, character in _LITERALS.items()})

_VARIABLE = re.compile(r"\$\{(?P<name>[^}',]+?)\s*(?:,\s*'(?P<default>[^']*)'\s*)?\}")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    first, *rest = (_one_for_one(part) for part in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    # The first place for what stands between two `*` is as good as any later one: atomic groups keep a pattern with
    # many of them from trying all others, which would take longer than anybody waits.
    *between, last = rest
    return re.compile(first + "".join(f"(?>.*?{part})" for part in between) + f".*{last}", re.DOTALL)


def _one_for_one(part: str) -> str:
    return "".join("." if character == "?" else re.escape(plain(character)) for character in part)


def matches(pattern: str, value: str) -> bool:
    """Whether a value fits a pattern in which `*` stands for any characters and `?` for one."""
    return _compiled(pattern).fullmatch(value) is not None


def resource_matches(pattern: str, resource: str) -> bool:
    """Whether a resource fits the pattern of an ARN; the fields that an incomplete ARN lacks can be anything."""
    missing = _ARN_FIELDS - 1 - pattern.count(":")
    return matches(pattern + ":*" * missing if missing > 0 and pattern.startswith("arn:") else pattern, resource)


def arn_matches(pattern: str, value: str) -> bool:
    """Whether an ARN fits a pattern as the condition operators compare them: field by field."""
    patterns, fields = pattern.split(":", _ARN_FIELDS - 1), value.split(":", _ARN_FIELDS - 1)
    return len(patterns) == len(fields) and all(map(matches, patterns, fields))


def resolve(text: str, context: Context) -> str | None:
    """Puts values in the place of variables; None where one has neither a value nor a default."""
    if "${" not in text:
        return text
    resolved, position = [], 0
    for found in _VARIABLE.finditer(text):
        name = found["name"]
        value = name if name in _LITERALS else context.get(name.lower(), found["default"])
        if not isinstance(value, str):
            return None
        resolved += [text[position : found.start()], value.translate(_TO_LITERALS)]
        position = found.end()
    return "".join(resolved) + text[position:]


def without_variables(pattern: str) -> str:
    """A pattern in which `${` begins no variable, as in the first version of the language."""
    return pattern.replace("$", _LITERALS["$"])


def plain(text: str) -> str:
    """A text in which nothing is a wildcard, as it was meant."""
    return text.translate(_FROM_LITERALS)
