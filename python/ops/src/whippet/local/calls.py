"""An AWS API call: which operation a request asks for, its parameters, and answers and errors in its protocol."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from botocore.utils import parse_timestamp
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from whippet.local.settings import ACCOUNT

#: Services that sign with another name than botocore's own.
SERVICES_BY_SIGNING_NAME = {
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}

#: The data plane, recognised by path: its bodies can be anything, also what looks like another protocol.
DATA_PLANE = (
    (re.compile(r"/endpoints/(?P<EndpointName>[^/]+)/invocations"), "sagemaker-runtime", "InvokeEndpoint"),
    (re.compile(r"/endpoints/(?P<EndpointName>[^/]+)/async-invocations"), "sagemaker-runtime", "InvokeEndpointAsync"),
    (
        re.compile(r"/endpoints/(?P<EndpointName>[^/]+)/invocations-response-stream"),
        "sagemaker-runtime",
        "InvokeEndpointWithResponseStream",
    ),
    (re.compile(r"/2015-03-31/functions/(?P<FunctionName>[^/]+)/invocations/?"), "lambda", "Invoke"),
)


#: The region of requests that name none, as the unsigned ones and version 2 of the signatures.
UNSIGNED_REGION = "us-east-1"
#: Paths of Lambda's API begin with the date of a version of it.
LAMBDA_PATH = re.compile(r"/20\d\d-\d\d-\d\d/")


class Signature(NamedTuple):
    """What a request's signature claims, as it was sent and not verified yet: `access.signatures` does that.

    Attributes:
        algorithm: how it is made; AWS's version 2 has no name for it and is called `AWS` here.
        access_key: whose it is.
        date: the day that the key was derived for, as YYYYMMDD.
        region: the region that the key was derived for.
        service: the service that the key was derived for, in lower case.
        terminator: the end of the credential scope.
        signed_headers: the headers that it covers, in lower case.
        value: the signature itself.
        is_presigned: whether it stands in the URL.
    """

    algorithm: str
    access_key: str = ""
    date: str = ""
    region: str = ""
    service: str = ""
    terminator: str = ""
    signed_headers: tuple[str, ...] = ()
    value: str = ""
    is_presigned: bool = False


@dataclass(frozen=True)
class Call:
    """One request to one operation of an AWS service.

    Attributes:
        service: botocore's name of the service.
        operation: botocore's name of the operation; empty where the request fits none.
        region: the region that the request is signed for.
        access_key: the key that the request says it is signed with; empty where it is not signed.
        request: the HTTP request.
        labels: the parameters in the request's path.
    """

    service: str
    operation: str
    region: str
    access_key: str
    request: Request
    labels: Mapping[str, str]
    account: str = ACCOUNT

    @property
    def body(self) -> bytes:
        """The request's body."""
        stream = self.request.environ["wsgi.input"]  # in memory, and read by moto too
        stream.seek(0)
        body: bytes = stream.read()
        return body

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters of the operation, under botocore's names and in its types, wherever the request has them."""
        model = self.operation_model
        if model is None or model.input_shape is None:
            return {}
        try:
            is_json = self.protocol in ("json", "rest-json") and "payload" not in model.input_shape.serialization
            if is_json and self.body:
                json.loads(self.body)  # since moto's parser takes what is no JSON for an empty object
            parsed: dict[str, Any] = PROTOCOL_PARSERS[self.protocol](model, _utc).parse(
                {
                    "method": self.request.method,
                    "values": self.request.values,
                    "headers": self.request.headers,
                    "body": self.body,
                    "url_path": self.request.path,
                    "url_params": dict(self.labels),
                }
            )
        except (RequestParserError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError):
            raise AwsError("SerializationException", "The request cannot be read.") from None
        return parsed

    @property
    def operation_model(self) -> OperationModel | None:
        """Botocore's model of the operation; None where there is no such operation."""
        model = service_model(self.service)
        return model.operation_model(self.operation) if model is not None and self.operation else None

    @cached_property
    def protocol(self) -> str:
        """How the answer is written: json, rest-json, query, ec2 or rest-xml."""
        model = service_model(self.service)
        if model is None:
            return "json"
        try:
            return determine_request_protocol(model, self.request.content_type)
        except NotImplementedError:
            return str(model.protocol)

    def arn(self, resource: str, service: str | None = None) -> str:
        """The ARN of a resource in the account and region of the call."""
        return f"arn:aws:{service or self.service}:{self.region}:{self.account}:{resource}"


class AwsError(Exception):
    """An error that is answered as AWS answers it.

    Args:
        code: the error code; the HTTP status comes from botocore's model of it.
        message: what went wrong.
        status: the HTTP status, where botocore has no model of the error.
        members: further members of the error.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.members = dict(members or {})
        self.headers = dict(headers or {})


def identify(request: Request) -> Call:
    """Finds out which operation a request asks for, and in whose name; `access` finds out whether it may."""
    signature = read_signature(request)
    region, access_key = (signature.region, signature.access_key) if signature else (UNSIGNED_REGION, "")
    if request.method == "POST":
        for path, service, operation in DATA_PLANE:
            if match := path.fullmatch(request.raw_path):
                labels = {name: unquote(value) for name, value in match.groupdict().items()}
                return Call(service, operation, region, access_key, request, labels)
    signing_name = signature.service if signature and signature.service else _unsigned_service(request)
    service = SERVICES_BY_SIGNING_NAME.get(signing_name, signing_name)
    name, labels = "", {}
    if service_model(service) is not None:
        try:
            operation_model, labels = get_service_router(service).match(request)
            name = str(operation_model.name)
        except (NotFound, NotImplementedError):
            pass
    return Call(service, name, region, access_key, request, labels)


def _unsigned_service(request: Request) -> str:
    """The service that an unsigned request is for, as far as its protocol tells; the error is written for it."""
    if "X-Amz-Target" in request.headers:
        return ""  # any of those that speak JSON
    if request.mimetype == "application/x-www-form-urlencoded":
        return "sts"  # or another one that speaks the query protocol: only STS has operations that are not signed
    return "lambda" if LAMBDA_PATH.match(request.raw_path) else "s3"


def read_signature(request: Request) -> Signature | None:
    """Reads the signature of a request or of a presigned URL, whole or not; None where there is none."""
    query, header = request.args, request.headers.get("Authorization")
    if "X-Amz-Algorithm" in query or "X-Amz-Credential" in query:
        return _signature(
            query.get("X-Amz-Algorithm", ""),
            query.get("X-Amz-Credential", ""),
            query.get("X-Amz-SignedHeaders", ""),
            query.get("X-Amz-Signature", ""),
            is_presigned=True,
        )
    if header is not None:
        algorithm, _, rest = header.strip().partition(" ")
        if algorithm == "AWS":
            return Signature("AWS", rest.partition(":")[0], region=UNSIGNED_REGION, service="s3")
        fields = dict(field.strip().partition("=")[::2] for field in rest.split(","))
        credential, signed_headers = fields.get("Credential", ""), fields.get("SignedHeaders", "")
        return _signature(algorithm, credential, signed_headers, fields.get("Signature", ""), is_presigned=False)
    if key := query.get("AWSAccessKeyId"):  # presigned with version 2, which boto3 still does for S3
        value = query.get("Signature", "")
        return Signature("AWS", key, region=UNSIGNED_REGION, service="s3", value=value, is_presigned=True)
    return None


def _signature(algorithm: str, credential: str, signed_headers: str, value: str, is_presigned: bool) -> Signature:
    # A key may hold slashes, as those of other makers of S3 do; the rest of the scope holds none.
    key, date, region, service, terminator = ["", "", "", "", "", *credential.rsplit("/", 4)][-5:]
    headers = tuple(signed_headers.lower().split(";")) if signed_headers else ()
    return Signature(algorithm, key, date, region, service.lower(), terminator, headers, value, is_presigned)


def _utc(text: Any) -> datetime:
    """A timestamp of a request, in any of AWS's formats."""
    moment: datetime = parse_timestamp(text)
    return moment.astimezone(UTC)


def service_model(service: str) -> ServiceModel | None:
    """Finds botocore's model of a service, None where there is no such service."""
    try:
        return get_service_model(service)
    except UnknownServiceError:
        return None


def answer(call: Call, result: Mapping[str, Any] | None = None) -> Response:
    """The answer to a call, in its protocol.

    Args:
        call: what is answered.
        result: the members of the operation's output, under botocore's names and in its types; None values are left
            out.
    """
    model = call.operation_model
    assert model is not None  # noqa: S101 - only operations that botocore knows have handlers
    serialized = get_serializer_class(call.service, call.protocol)(model).serialize(dict(result or {}))
    headers: dict[str, Any] = {"x-amzn-RequestId": str(uuid.uuid4()), **serialized["headers"]}
    return Response(serialized["body"], serialized["status_code"], headers)


def json_answer(payload: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON document, as moto's answers are after they have been mended."""
    return Response(json.dumps(payload, default=str), status, content_type="application/x-amz-json-1.1")


def error_answer(error: AwsError, service: str, protocol: str) -> Response:
    """An error in the shape of the protocol, which SDKs turn into their exceptions."""
    request_id = str(uuid.uuid4())
    status, message_member = _modelled(error, service)
    if protocol in ("json", "rest-json"):
        body = json.dumps({"__type": error.code, message_member: str(error), **error.members})
        content_type = "application/x-amz-json-1.1" if protocol == "json" else "application/json"
        response = Response(body, status, content_type=content_type)
        response.headers["x-amzn-ErrorType"] = error.code
    else:
        response = Response(_xml_error(error, service, protocol, request_id), status, content_type="text/xml")
    response.headers["x-amzn-RequestId"] = request_id
    response.headers.update(error.headers)
    return response


def _modelled(error: AwsError, service: str) -> tuple[int, str]:
    """The HTTP status of an error, and what its shape calls the message."""
    model = service_model(service)
    if model is None or error.code not in model.shape_names:
        return error.status, "message"
    shape = model.shape_for(error.code)
    status = shape.metadata.get("error", {}).get("httpStatusCode", error.status)
    members: Mapping[str, Any] = getattr(shape, "members", {})
    return status, next((name for name in members if name.lower() == "message"), "message")


def _xml_error(error: AwsError, service: str, protocol: str, request_id: str) -> str:
    code, message = escape(error.code), escape(str(error))
    body = f"<Code>{code}</Code><Message>{message}</Message>"
    if protocol == "ec2":
        return f"<Response><Errors><Error>{body}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    if service == "s3":
        return f"<Error>{body}<RequestId>{request_id}</RequestId></Error>"
    error_type = "<Type>Sender</Type>"
    return f"<ErrorResponse><Error>{error_type}{body}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
