"""Functions, versions and aliases, as moto has them on record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends

from whippet.local.calls import AwsError, Call
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT

LATEST = "$LATEST"

#: The ways to name a function, https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestSyntax,
#: and that of Application Auto Scaling.
NAMED = re.compile(
    r"((arn:aws[a-z-]*:lambda:(?P<region>[a-z0-9-]+):)?\d{12}:function:|function:(?=[^:]+:))?"
    r"(?P<name>[\w-]+)(:(?P<qualifier>\$LATEST|[\w-]+))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Function:
    """One version of a function, as it is configured now; equal ones can share environments.

    Attributes:
        arn: its ARN without a version: what concurrency is reserved for.
        name: its name.
        version: `$LATEST` or a number.
        region: where it is.
        code_sha256: digest of its package, in base64.
        handler: module.function.
        runtime: as in python3.12.
        role_arn: the role that it runs as.
        memory_mb: what it may use.
        timeout: seconds for one event.
        variables: its environment variables.
        log_group: where it logs.
        log_format: Text or JSON.
        code: its package.
    """

    arn: str
    name: str
    version: str
    region: str
    code_sha256: str
    handler: str
    runtime: str
    role_arn: str
    memory_mb: int
    timeout: int
    variables: tuple[tuple[str, str], ...]
    log_group: str
    log_format: str
    code: bytes = field(repr=False, compare=False)


@dataclass(frozen=True)
class Target:
    """What an invocation is for.

    Attributes:
        function: the version that runs.
        qualifier: the version or alias that was named; empty where none was.
    """

    function: Function
    qualifier: str

    @property
    def resource(self) -> str:
        """The name with the qualifier, as metrics have it."""
        return f"{self.function.name}:{self.qualifier}" if self.qualifier else self.function.name

    @property
    def arn(self) -> str:
        """The ARN that was invoked."""
        return qualified(self.function.arn, self.qualifier)


@dataclass(frozen=True)
class Provisioning:
    """The provisioned concurrency of a version or an alias.

    Attributes:
        requested: how many environments are to be initialised ahead.
        modified_at: seconds since 1970.
    """

    requested: int
    modified_at: float


def qualified(arn: str, qualifier: str) -> str:
    """An ARN with a qualifier, unless that is empty."""
    return f"{arn}:{qualifier}" if qualifier else arn


def split_name(named: str) -> tuple[str, str]:
    """The name and the qualifier (empty where there is none) in NAME, ACCOUNT:function:NAME, an ARN or such."""
    found = NAMED.fullmatch(named)
    return (found["name"], found["qualifier"] or "") if found else (named, "")


def named_by(call: Call) -> tuple[str, str]:
    """The name and the qualifier of the function that a call names.

    Raises:
        AwsError: it names one of another region, or two qualifiers.
    """
    named, asked = call.labels["FunctionName"], call.request.args.get("Qualifier", "")
    if (found := NAMED.fullmatch(named)) and found["region"] not in (None, call.region):
        message = f"Functions from '{found['region']}' are not reachable in this region ('{call.region}')"
        raise AwsError("ResourceNotFoundException", message, members={"Type": "User"})
    name, qualifier = split_name(named)
    if qualifier and asked not in ("", qualifier):
        message = "The derived qualifier from the function name does not match the specified qualifier."
        raise AwsError("InvalidParameterValueException", message, members={"Type": "User"})
    return name, qualifier or asked


def backend_of(region: str) -> Any:
    """Moto's Lambda in a region."""
    return lambda_backends[ACCOUNT][region]


def regions() -> list[str]:
    """The regions in which Lambda has been called."""
    return list(lambda_backends[ACCOUNT])


def functions(region: str) -> Iterable[Any]:
    """The unpublished version of each function in a region."""
    return list(backend_of(region).list_functions())


def function_arn(region: str, name: str) -> str:
    """The ARN of a function."""
    return f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"


def not_found(region: str, name: str, qualifier: str = "") -> AwsError:
    """What is answered where there is no such function, version or alias."""
    message = f"Function not found: {qualified(function_arn(region, name), qualifier)}"
    return AwsError("ResourceNotFoundException", message, members={"Type": "User"})


def find(region: str, name: str, qualifier: str = "") -> Any:
    """The record of a version of a function, by its number or by an alias.

    Raises:
        AwsError: ResourceNotFoundException.
    """
    try:
        return backend_of(region).get_function(name, qualifier or None)
    except (UnknownFunctionException, ValueError):
        raise not_found(region, name, qualifier) from None


def find_alias(region: str, name: str, qualifier: str) -> Any:
    """The record of an alias; None where the qualifier is none's.

    Raises:
        AwsError: ResourceNotFoundException, where there is no such function.
    """
    if not qualifier or qualifier == LATEST or qualifier.isdecimal():
        return None
    try:
        aliases = backend_of(region).list_aliases(name)
    except UnknownFunctionException:
        raise not_found(region, name, qualifier) from None
    return next((one for one in aliases if one.name == qualifier), None)


def weights(alias: Any) -> dict[str, float]:
    """The further version of an alias with its share of the invocations."""
    return dict((alias.routing_config or {}).get("AdditionalVersionWeights") or {})


def resolve(region: str, name: str, qualifier: str, random: Random) -> Target:
    """What an invocation is for; an alias with weights chooses.

    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html

    Raises:
        AwsError: there is no such function, or nothing here can run it.
    """
    version = qualifier
    if (alias := find_alias(region, name, qualifier)) is not None:
        version, choice = alias.function_version, random.random()
        for other, weight in weights(alias).items():
            if choice < weight:
                version = other
            choice -= weight
    return Target(function_of(find(region, name, version), region), qualifier)


def function_of(record: Any, region: str) -> Function:
    """What an environment of a version needs to know of it.

    Raises:
        AwsError: nothing here can run it.
    """
    if record.package_type != "Zip" or not str(record.run_time).startswith("python"):
        raise AwsError("InvalidParameterValueException", "Local AWS runs zips for a Python runtime, nothing else.")
    variables: Mapping[str, str] = record.environment_vars or {}
    logging = extras(record).get("LoggingConfig", {})
    return Function(
        arn=function_arn(region, record.function_name),
        name=record.function_name,
        version=str(record.version),
        region=region,
        code_sha256=record.code_sha_256,
        handler=record.handler,
        runtime=record.run_time,
        role_arn=record.role,
        memory_mb=int(record.memory_size),
        timeout=int(record.timeout),
        variables=tuple(sorted(variables.items())),
        log_group=logging.get("LogGroup") or f"/aws/lambda/{record.function_name}",
        log_format=logging.get("LogFormat", "Text"),
        code=record.code_bytes,
    )


def extras(record: Any) -> dict[str, Any]:
    """The settings of a version that moto does not keep; replaced as a whole, since versions share it with others."""
    found: dict[str, Any] = vars(record).get("whippet_extras", {})
    return found


def reserved(record: Any) -> int | None:
    """The reserved concurrency of a function; None where it has none."""
    return None if record.reserved_concurrency is None else int(record.reserved_concurrency)


def provisionings(region: str) -> dict[tuple[str, str], Provisioning]:
    """The provisioned concurrency in a region, by function name and qualifier."""
    return shelf(backend_of(region), "provisioned_concurrency")


def timestamp(seconds: float) -> str:
    """A time as Lambda writes it: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"
