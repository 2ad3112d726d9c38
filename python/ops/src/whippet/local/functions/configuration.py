"""Functions and versions on record; what moto leaves out, or answers otherwise than AWS, is mended here."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.s3.exceptions import MissingBucket, MissingKey
from moto.s3.models import s3_backends
from werkzeug.wrappers import Response

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.functions import runtime
from whippet.local.functions.records import (
    LATEST,
    backend_of,
    extras,
    find,
    find_alias,
    function_arn,
    functions,
    named_by,
    not_found,
    qualified,
    reserved,
    split_name,
    timestamp,
    weights,
)
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: Settings that moto changes when it is told, and those that it lacks; see `_apply` for the rest.
KEPT_BY_MOTO = ("Description", "Handler", "Layers", "MemorySize", "Role", "Runtime", "Timeout", "VpcConfig")
KEPT_AS_EXTRAS = ("DeadLetterConfig", "FileSystemConfigs", "LoggingConfig", "SnapStart")
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
RESERVED_VARIABLES = frozenset(
    [
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    ]
)
#: What two versions may differ in although nothing has changed between them.
OF_EACH_VERSION = ("Description", "FunctionArn", "LastModified", "RevisionId", "Version")


class Configuration:
    """Makes, changes and tells functions and their versions.

    Args:
        clock: when they were changed.
        on_change: called with the region and the name when the unpublished version has changed.
        on_delete: called with the region, the name and the qualifier (empty for all of it) of what is gone.
    """

    def __init__(
        self, clock: Clock, on_change: Callable[[str, str], None], on_delete: Callable[[str, str, str], None]
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._on_delete = on_delete

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "CreateFunction": self.create,
            "DeleteFunction": self.delete,
            "GetFunction": self.get,
            "GetFunctionConfiguration": self.get_configuration,
            "ListFunctions": self.list,
            "ListVersionsByFunction": self.list_versions,
            "PublishVersion": self.publish,
            "UpdateFunctionCode": self.update_code,
            "UpdateFunctionConfiguration": self.update_configuration,
        }
        return {("lambda", name): handler for name, handler in operations.items()}

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateFunction: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html."""
        params = call.params
        _check_code(params.get("Code", {}))
        _check_variables(params)
        _check_dead_letters(params["Role"], params)
        response = forward(call)
        if response.status_code >= 300:
            return response
        name, _ = split_name(params["FunctionName"])
        record = find(call.region, name)
        self._apply(record, params)
        versions = _versions(call.region, name)
        if params.get("Publish"):  # moto has published it before the lines above
            versions.clear()
            published = self._publish(call.region, record, None)
            return answer(call, {**configuration(published), "FunctionArn": function_arn(call.region, name)})
        return answer(call, configuration(record))

    def update_configuration(self, call: Call, forward: Forward) -> Response:
        """UpdateFunctionConfiguration: https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html."""
        record = self._changeable(call)
        params = call.params
        _check_variables(params)
        _check_dead_letters(params.get("Role", record.role), params)
        try:
            record.update_configuration({name: params[name] for name in KEPT_BY_MOTO if name in params})
        except JsonRESTError as error:
            raise AwsError(error.error_type, error.message, status=error.code) from None
        self._apply(record, params)
        self._on_change(call.region, record.function_name)
        return answer(call, configuration(record))

    def update_code(self, call: Call, forward: Forward) -> Response:
        """UpdateFunctionCode: https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html."""
        record = self._changeable(call)
        params = call.params
        _check_code(params)
        if params.get("DryRun"):
            return answer(call, configuration(record))
        record.update_function_code(json.loads(call.body))
        if "Architectures" in params:
            record.architectures = params["Architectures"]
        self._touch(record)
        self._on_change(call.region, record.function_name)
        return answer(
            call, configuration(self._publish(call.region, record, None) if params.get("Publish") else record)
        )

    def publish(self, call: Call, forward: Forward) -> Response:
        """PublishVersion: https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html."""
        record = self._changeable(call)
        params = call.params
        if (digest := params.get("CodeSha256")) and digest != record.code_sha_256:
            raise AwsError(
                "InvalidParameterValueException",
                f"CodeSHA256 ({digest}) is different from current CodeSHA256 in $LATEST ({record.code_sha_256}). "
                "Please try again with the CodeSHA256 in $LATEST.",
            )
        return answer(call, configuration(self._publish(call.region, record, params.get("Description"))))

    def get(self, call: Call, forward: Forward) -> Response:
        """GetFunction: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html."""
        name, qualifier = named_by(call)
        record = find(call.region, name, qualifier)
        told = {name: value for name, value in record.get_code().items() if name in ("Code", "Tags")}
        told["Configuration"] = _configuration_of(call, record)
        if not qualifier and (limit := reserved(record)) is not None:
            told["Concurrency"] = {"ReservedConcurrentExecutions": limit}
        return answer(call, told)

    def get_configuration(self, call: Call, forward: Forward) -> Response:
        """GetFunctionConfiguration: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html."""
        name, qualifier = named_by(call)
        return answer(call, _configuration_of(call, find(call.region, name, qualifier)))

    def list(self, call: Call, forward: Forward) -> Response:
        """ListFunctions, on one page: https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html."""
        found = []
        for record in functions(call.region):
            if call.params.get("FunctionVersion") == "ALL":
                found += _all_versions(call.region, record)
            else:
                found.append(configuration(record))
        return answer(call, {"Functions": found})

    def list_versions(self, call: Call, forward: Forward) -> Response:
        """ListVersionsByFunction, on one page.

        https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html
        """
        name, _ = named_by(call)
        return answer(call, {"Versions": _all_versions(call.region, find(call.region, name))})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteFunction: https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunction.html."""
        name, qualifier = named_by(call)
        find(call.region, name, qualifier)
        if qualifier == LATEST:
            message = "$LATEST version cannot be deleted without deleting the function."
            raise AwsError("InvalidParameterValueException", message)
        if find_alias(call.region, name, qualifier) is not None:
            raise AwsError("InvalidParameterValueException", "Deletion of aliases is not currently supported.")
        if qualifier:
            users = [
                alias.name
                for alias in backend_of(call.region).list_aliases(name)
                if qualifier in (alias.function_version, *weights(alias))
            ]
            if users:
                message = "Unable to delete version because the following aliases reference it"
                raise AwsError("ResourceConflictException", f"{message}: [{', '.join(users)}]")
        response = forward(call)
        if response.status_code < 300:
            self._on_delete(call.region, name, qualifier)
        return response

    def _changeable(self, call: Call) -> Any:
        """The unpublished version that a call is to change.

        Raises:
            AwsError: there is none, or it has changed since the caller has looked.
        """
        name, _ = named_by(call)
        record = find(call.region, name)
        revision = call.params.get("RevisionId")
        if revision and revision != extras(record).get("RevisionId"):
            raise AwsError(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
                "retrieve the latest Revision Id",
            )
        return record

    def _apply(self, record: Any, params: Mapping[str, Any]) -> None:
        """Sets what moto drops, when a function is made or changed."""
        if "Environment" in params:
            record.environment_vars = dict(params["Environment"].get("Variables") or {})
        if "EphemeralStorage" in params:
            record.ephemeral_storage = params["EphemeralStorage"]["Size"]
        if "KMSKeyArn" in params:
            record.kms_key_arn = params["KMSKeyArn"] or None
        if "TracingConfig" in params:
            record.tracing_config = params["TracingConfig"]
        record.whippet_extras = {**extras(record), **{name: params[name] for name in KEPT_AS_EXTRAS if name in params}}
        self._touch(record)

    def _touch(self, record: Any) -> None:
        record.last_modified = timestamp(self._clock.time())
        record.whippet_extras = {**extras(record), "RevisionId": str(uuid.uuid4())}

    def _publish(self, region: str, record: Any, description: str | None) -> Any:
        """The version that is like the unpublished one, a new one unless the last one is.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
        """
        versions = _versions(region, record.function_name)
        if versions and _without_names(versions[-1]) == _without_names(record):
            return versions[-1]
        # A number is never given again, even when its version is gone.
        number = extras(record).get("LastVersion", 0) + 1
        record.whippet_extras = {**extras(record), "LastVersion": number}
        version = copy.copy(record)
        version.set_version(number)
        self._touch(version)
        if description is not None:
            version.description = description
        versions.append(version)
        backend_of(region)._lambdas._arns[version.function_arn] = version
        return version


def configuration(record: Any) -> dict[str, Any]:
    """What is told of a version."""
    more = extras(record)
    logging = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{record.function_name}", **more.get("LoggingConfig", {})}
    if logging["LogFormat"] == "JSON":
        logging = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", **logging}
    snap_start = {"ApplyOn": "None", **more.get("SnapStart", {}), "OptimizationStatus": "Off"}
    told = {
        **record.get_configuration(),
        "DeadLetterConfig": more.get("DeadLetterConfig") if more.get("DeadLetterConfig", {}).get("TargetArn") else None,
        "FileSystemConfigs": more.get("FileSystemConfigs"),
        "LoggingConfig": logging,
        "RevisionId": more.get("RevisionId"),
        "SnapStart": snap_start,
    }
    return {name: value for name, value in told.items() if value not in (None, [], {})}


def _configuration_of(call: Call, record: Any) -> dict[str, Any]:
    name, qualifier = named_by(call)
    return {**configuration(record), "FunctionArn": qualified(function_arn(call.region, name), qualifier)}


def _all_versions(region: str, record: Any) -> list[dict[str, Any]]:
    latest = {**configuration(record), "FunctionArn": qualified(record.function_arn, LATEST)}
    return [latest, *(configuration(version) for version in _versions(region, record.function_name))]


def _without_names(record: Any) -> dict[str, Any]:
    return {name: value for name, value in configuration(record).items() if name not in OF_EACH_VERSION}


def _versions(region: str, name: str) -> list[Any]:
    """The published versions of a function, as moto's own list."""
    group: dict[str, Any] | None = backend_of(region)._lambdas._functions.get(name)
    if group is None:
        raise not_found(region, name)
    versions: list[Any] = group["versions"]
    return versions


def _check_code(code: Mapping[str, Any]) -> None:
    """Refuses a package that cannot be unpacked; moto would take it.

    Raises:
        AwsError: InvalidParameterValueException.
    """
    package = code.get("ZipFile")
    if "S3Bucket" in code:
        failure = None
        try:
            key = s3_backends[ACCOUNT]["aws"].get_object(code["S3Bucket"], code["S3Key"], code.get("S3ObjectVersion"))
            if key is None:
                raise MissingKey(key=code["S3Key"])
            package = key.value
        except MissingBucket:
            failure = "NoSuchBucket. S3 Error Message: The specified bucket does not exist"
        except MissingKey:
            failure = "NoSuchKey. S3 Error Message: The specified key does not exist."
        if failure:
            message = f"Error occurred while GetObject. S3 Error Code: {failure}"
            raise AwsError("InvalidParameterValueException", message)
    try:
        if package is not None:
            runtime.check(package)
    except runtime.BadCodeError as error:
        raise AwsError("InvalidParameterValueException", str(error)) from None


def _check_variables(params: Mapping[str, Any]) -> None:
    """Refuses environment variables that Lambda sets itself.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime

    Raises:
        AwsError: InvalidParameterValueException.
    """
    if taken := sorted(RESERVED_VARIABLES.intersection(params.get("Environment", {}).get("Variables") or {})):
        raise AwsError(
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
            f"this request: {', '.join(taken)}",
        )


def _check_dead_letters(role_arn: str, params: Mapping[str, Any]) -> None:
    """Refuses a dead-letter queue that the function's role may not send to.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq

    Raises:
        AwsError: InvalidParameterValueException.
    """
    if not (arn := params.get("DeadLetterConfig", {}).get("TargetArn")):
        return
    service, action = ("SNS", "Publish") if ":sns:" in arn else ("SQS", "SendMessage")
    if role_principal(role_arn).decide(Need(f"{service.lower()}:{action}", arn)) is not Decision.ALLOWED:
        message = f"The provided execution role does not have permissions to call {action} on {service}"
        raise AwsError("InvalidParameterValueException", message)
