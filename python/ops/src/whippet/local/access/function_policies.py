"""The policies of functions, in which moto leaves some conditions out."""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda.models import lambda_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: Parameters of AddPermission, and the conditions that they become:
#: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
CONDITIONS = {
    "EventSourceToken": ("StringEquals", "lambda:EventSourceToken"),
    "FunctionUrlAuthType": ("StringEquals", "lambda:FunctionUrlAuthType"),
    "InvokedViaFunctionUrl": ("Bool", "lambda:InvokedViaFunctionUrl"),
}


def add_permission(call: Call, forward: Forward) -> Response:
    """AddPermission, with the conditions on calls through a URL.

    https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
    """
    response = forward(call)
    if response.status_code >= 300:
        return response
    sid = call.params["StatementId"]
    backend = lambda_backends[ACCOUNT][call.region]
    function = backend.get_function(call.params["FunctionName"], call.params.get("Qualifier"))
    for statement in function.policy.statements:
        if statement.get("Sid") == sid:
            _mend(statement, call.params)
            response.set_data(json.dumps({"Statement": json.dumps(statement)}))
    return response


def _mend(statement: dict[str, Any], params: dict[str, Any]) -> None:
    for parameter, (operator, key) in CONDITIONS.items():
        statement.pop(parameter, None)
        if (value := params.get(parameter)) is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            statement.setdefault("Condition", {}).setdefault(operator, {})[key] = text
    principal = statement.get("Principal")
    if isinstance(principal, str) and principal != "*":
        account = f"arn:aws:iam::{principal}:root" if principal.isdigit() else principal
        statement["Principal"] = {"AWS": account}


HANDLERS: Handlers = {("lambda", "AddPermission"): add_permission}
