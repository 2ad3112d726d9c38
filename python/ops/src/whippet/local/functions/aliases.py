"""Aliases: https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.functions.records import (
    LATEST,
    backend_of,
    find,
    find_alias,
    function_arn,
    named_by,
    qualified,
)
from whippet.local.services import Forward, Handlers


class Aliases:
    """Makes, changes and tells aliases.

    Args:
        on_change: called with the region, the name and the alias that has changed or is gone.
    """

    def __init__(self, on_change: Callable[[str, str, str], None]) -> None:
        self._on_change = on_change

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "CreateAlias": self.create,
            "DeleteAlias": self.delete,
            "GetAlias": self.get,
            "ListAliases": self.list,
            "UpdateAlias": self.update,
        }
        return {("lambda", name): handler for name, handler in operations.items()}

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateAlias: https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html."""
        params = call.params
        name, alias = _function(call), params["Name"]
        find(call.region, name)
        if find_alias(call.region, name, alias) is not None:
            message = f"Alias already exists: {qualified(function_arn(call.region, name), alias)}"
            raise AwsError("ResourceConflictException", message, members={"Type": "User"})
        _check(call.region, name, params["FunctionVersion"], params.get("RoutingConfig"))
        made = backend_of(call.region).create_alias(
            alias, name, params["FunctionVersion"], params.get("Description", ""), params.get("RoutingConfig")
        )
        return answer(call, _told(made))

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateAlias: https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html."""
        params, alias = call.params, self._alias(call)
        if (revision := params.get("RevisionId")) and revision != alias.revision_id:
            raise AwsError(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
                "retrieve the latest Revision Id",
            )
        version = params.get("FunctionVersion", alias.function_version)
        routing = params.get("RoutingConfig", alias.routing_config)
        _check(call.region, _function(call), version, routing)
        alias.update(params.get("Description"), version, routing)
        alias.revision_id = str(uuid.uuid4())
        self._on_change(call.region, _function(call), alias.name)
        return answer(call, _told(alias))

    def get(self, call: Call, forward: Forward) -> Response:
        """GetAlias: https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html."""
        return answer(call, _told(self._alias(call)))

    def list(self, call: Call, forward: Forward) -> Response:
        """ListAliases, on one page: https://docs.aws.amazon.com/lambda/latest/api/API_ListAliases.html."""
        name, version = _function(call), call.params.get("FunctionVersion")
        find(call.region, name)
        aliases = backend_of(call.region).list_aliases(name)
        return answer(
            call, {"Aliases": [_told(alias) for alias in aliases if version in (None, alias.function_version)]}
        )

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteAlias; one that does not exist is deleted already.

        https://docs.aws.amazon.com/lambda/latest/api/API_DeleteAlias.html
        """
        name, alias = _function(call), call.params["Name"]
        find(call.region, name)
        backend_of(call.region).delete_alias(alias, name)
        self._on_change(call.region, name, alias)
        return answer(call)

    def _alias(self, call: Call) -> Any:
        name, qualifier = _function(call), call.params["Name"]
        find(call.region, name)
        if (alias := find_alias(call.region, name, qualifier)) is None:
            message = f"Cannot find alias arn: {qualified(function_arn(call.region, name), qualifier)}"
            raise AwsError("ResourceNotFoundException", message, members={"Type": "User"})
        return alias


def _function(call: Call) -> str:
    return named_by(call)[0]


def _told(alias: Any) -> dict[str, Any]:
    return {name: value for name, value in alias.to_json().items() if value is not None}


def _check(region: str, name: str, version: str, routing: dict[str, Any] | None) -> None:
    """Checks the versions that an alias is to lead to.

    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html

    Raises:
        AwsError: there are none such, or not together.
    """
    find(region, name, version)
    others = (routing or {}).get("AdditionalVersionWeights") or {}
    for other, weight in others.items():
        find(region, name, other)
        if LATEST in (version, other):
            message = "$LATEST is not supported for an alias pointing to more than 1 version"
        elif other == version:
            message = f"Invalid function version {other}. Function version {other} is already included in routing "
            message += "configuration."
        elif not 0 <= weight <= 1:
            message = f"Weight {weight} of version {other} is not between 0.0 and 1.0"
        elif len(others) > 1:
            message = "Number of items in AdditionalVersionWeights cannot be greater than 1"
        else:
            continue
        raise AwsError("InvalidParameterValueException", message)
