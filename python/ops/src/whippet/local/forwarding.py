"""Has moto see a request as the one that was authorised.

Moto finds the service, the operation and the parameters by itself, and looks for them in more places than AWS does: in
the query, the body, whatever its type, and the headers. Without this, a caller could be allowed one call and have moto
answer another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from whippet.local.access.signatures import ALGORITHM, TERMINATOR
from whippet.local.calls import AwsError, Call, service_model

#: Keeps moto from taking the body or the headers for the query.
NO_PARAMETERS = "X-Whippet-Forwarded=1"


def aligned(call: Call) -> dict[str, Any]:
    """The WSGI environment of a request with that alone which its protocol knows.

    Raises:
        AwsError: it says two things at once.
    """
    environ, model = dict(call.request.environ), service_model(call.service)
    environ["wsgi.input"].seek(0)
    if model is None:
        return environ
    scope = f"{datetime.now(UTC):%Y%m%d}/{call.region}/{model.signing_name}/{TERMINATOR}"
    environ["HTTP_AUTHORIZATION"] = f"{ALGORITHM} Credential={call.access_key}/{scope}, Signature="
    match call.protocol:
        case "json":
            _refuse_forms(call)
            environ["QUERY_STRING"] = NO_PARAMETERS
        case "rest-json":
            _refuse_forms(call)
            environ.pop("HTTP_X_AMZ_TARGET", None)
            environ["QUERY_STRING"] = _modelled_query(call) or NO_PARAMETERS
        case "query" | "ec2":
            _check_parameters(call)
    environ["wsgi.input"].seek(0)  # the checks have read it
    return environ


def _is_form(call: Call) -> bool:
    return call.request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")


def _refuse_forms(call: Call) -> None:
    if _is_form(call) and call.body:
        raise AwsError("SerializationException", "The body is not of the type that the operation takes.")


def _modelled_query(call: Call) -> str:
    """What the operation knows of the query."""
    shape = None if call.operation_model is None else call.operation_model.input_shape
    members = () if shape is None else shape.members.values()
    known = {member.serialization.get("name") for member in members if member.serialization.get("location")}
    return urlencode([(name, value) for name, value in call.request.args.items(multi=True) if name in known])


def _check_parameters(call: Call) -> None:
    """The parameters stand in the query or in a form, not in both; one of them is the operation."""
    given = call.request.values.getlist("Action")  # first: it reads the body from where it stands
    in_query = any(not name.lower().startswith("x-amz-") for name in call.request.args)
    if call.body and (in_query or not _is_form(call)):
        raise AwsError("ValidationError", "The parameters must be in the query or in a form, not in both.")
    if len(given) != 1:
        raise AwsError("MissingAction", "The request must contain one Action.")
