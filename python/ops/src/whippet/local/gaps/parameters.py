"""Calls with other parameters than the caller has sent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from botocore.serialize import create_serializer
from moto.core.request import Request

from whippet.local.calls import Call


def with_params(call: Call, params: Mapping[str, Any]) -> Call:
    """The same call, in the form of the query protocols, with other parameters.

    Args:
        call: to an operation of a service that speaks query or ec2.
        params: under botocore's names and in its types.
    """
    model = call.operation_model
    assert model is not None  # noqa: S101 - only operations that botocore knows have handlers
    serializer = create_serializer(call.protocol, include_validation=False)
    serialized = serializer.serialize_to_request(dict(params), model)
    body = urlencode(serialized["body"]).encode()
    environ = {
        **call.request.environ,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    environ.pop("werkzeug.request", None)
    return replace(call, request=Request(environ))
