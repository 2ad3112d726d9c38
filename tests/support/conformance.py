"""Holds answers of local AWS to botocore's models of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from botocore import parsers
from botocore.validate import ParamValidator
from moto.core.utils import get_service_model
from werkzeug.wrappers import Response


def faults(service: str, operation: str, protocol: str, response: Response) -> list[str]:
    """What is wrong with the answer to an operation: what lacks, what no model knows, what has another type.

    Args:
        service: botocore's name of the service.
        operation: botocore's name of the operation.
        protocol: the one that the answer is written in.
        response: the answer.
    """
    model = get_service_model(service).operation_model(operation)
    body, shape = response.get_data(), model.output_shape
    if shape is None:
        return [] if body.strip() in (b"", b"{}") or not protocol.endswith("json") else [f"a body: {body[:80]!r}"]
    found = []
    tells_status = any(member.serialization.get("location") == "statusCode" for member in shape.members.values())
    if not tells_status and response.status_code != model.http.get("responseCode", 200):
        found.append(f"status {response.status_code}")
    raw = {"status_code": response.status_code, "headers": dict(response.headers), "body": body}
    parsed = parsers.create_parser(protocol).parse(raw, shape)
    parsed.pop("ResponseMetadata", None)
    if report := ParamValidator().validate(parsed, shape).generate_report():
        found.append(report)
    found += _unknown_values(parsed, shape, operation)
    if protocol.endswith("json") and "payload" not in shape.serialization:
        found += _unknown_members(json.loads(body or b"{}"), shape, operation)
    return found


def _unknown_values(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Strings that are not among those of their shape."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, member in shape.members.items():
            if name in value:
                yield from _unknown_values(value[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for one in value:
            yield from _unknown_values(one, shape.member, f"{where}[]")
    elif shape.type_name == "map":
        for one in value.values():
            yield from _unknown_values(one, shape.value, f"{where}{{}}")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{where} is {value!r}, not one of {shape.enum}"


def _unknown_members(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Members in a JSON document that its shape has not."""
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, one in value.items():
            if name not in names:
                yield f"{where}.{name} is unknown"
            elif one is None:
                yield f"{where}.{name} is null"
            else:
                yield from _unknown_members(one, names[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for one in value:
            yield from _unknown_members(one, shape.member, f"{where}[]")
    elif shape.type_name == "map":
        for one in value.values():
            yield from _unknown_members(one, shape.value, f"{where}{{}}")
