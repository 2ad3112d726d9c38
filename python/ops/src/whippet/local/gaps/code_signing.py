"""Lambda's code signing configurations, of which moto has none. They are kept, and no signature is checked.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-codesigning.html
"""

from __future__ import annotations

import uuid
from typing import Any

from moto.core.utils import utcnow
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.functions.records import backend_of, find, function_arn, functions, named_by
from whippet.local.records import shelf
from whippet.local.services import Forward, Handlers

#: What becomes of code without a good signature, unless it is said:
#: https://docs.aws.amazon.com/lambda/latest/api/API_CodeSigningPolicies.html
DEFAULT_POLICIES = {"UntrustedArtifactOnDeployment": "Warn"}
#: What UpdateCodeSigningConfig can change.
MUTABLE = ("AllowedPublishers", "CodeSigningPolicies", "Description")


def create(call: Call, forward: Forward) -> Response:
    """CreateCodeSigningConfig is not implemented.

    https://docs.aws.amazon.com/lambda/latest/api/API_CreateCodeSigningConfig.html
    """
    identifier = f"csc-{uuid.uuid4().hex[:17]}"
    arn = call.arn(f"code-signing-config:{identifier}")
    config = {"CodeSigningConfigId": identifier, "CodeSigningConfigArn": arn, "CodeSigningPolicies": DEFAULT_POLICIES}
    _set(config, call)
    _configs(call)[arn] = config
    _tags(call)[arn] = dict(call.params.get("Tags", {}))
    return answer(call, {"CodeSigningConfig": config})


def describe(call: Call, forward: Forward) -> Response:
    """GetCodeSigningConfig is not implemented.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetCodeSigningConfig.html
    """
    return answer(call, {"CodeSigningConfig": _config(call)})


def list_configs(call: Call, forward: Forward) -> Response:
    """ListCodeSigningConfigs is not implemented; here it has one page.

    https://docs.aws.amazon.com/lambda/latest/api/API_ListCodeSigningConfigs.html
    """
    return answer(call, {"CodeSigningConfigs": list(_configs(call).values())})


def update(call: Call, forward: Forward) -> Response:
    """UpdateCodeSigningConfig is not implemented.

    https://docs.aws.amazon.com/lambda/latest/api/API_UpdateCodeSigningConfig.html
    """
    config = _config(call)
    _set(config, call)
    return answer(call, {"CodeSigningConfig": config})


def delete(call: Call, forward: Forward) -> Response:
    """DeleteCodeSigningConfig is not implemented; AWS's words for a configuration in use are not known.

    https://docs.aws.amazon.com/lambda/latest/api/API_DeleteCodeSigningConfig.html
    """
    arn = _config(call)["CodeSigningConfigArn"]
    if _users(call, arn):
        raise AwsError("ResourceConflictException", f"The code signing configuration {arn} is in use by a function.")
    del _configs(call)[arn]
    _tags(call).pop(arn)
    return answer(call)


def list_functions(call: Call, forward: Forward) -> Response:
    """ListFunctionsByCodeSigningConfig is not implemented; here it has one page.

    https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionsByCodeSigningConfig.html
    """
    return answer(call, {"FunctionArns": _users(call, _config(call)["CodeSigningConfigArn"])})


def put_of_function(call: Call, forward: Forward) -> Response:
    """PutFunctionCodeSigningConfig is not implemented.

    https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionCodeSigningConfig.html
    """
    name, _ = named_by(call)
    arn = _config(call, "CodeSigningConfigNotFoundException")["CodeSigningConfigArn"]
    find(call.region, name).code_signing_config_arn = arn
    return answer(call, {"CodeSigningConfigArn": arn, "FunctionName": name})


def delete_of_function(call: Call, forward: Forward) -> Response:
    """DeleteFunctionCodeSigningConfig is not implemented.

    https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionCodeSigningConfig.html
    """
    name, _ = named_by(call)
    find(call.region, name).code_signing_config_arn = None
    return answer(call)


def list_tags(call: Call, forward: Forward) -> Response:
    """ListTags fails for a code signing configuration.

    https://docs.aws.amazon.com/lambda/latest/api/API_ListTags.html
    """
    tags = _tags(call).get(call.params["Resource"])
    return forward(call) if tags is None else answer(call, {"Tags": tags})


def tag(call: Call, forward: Forward) -> Response:
    """TagResource fails for a code signing configuration.

    https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html
    """
    tags = _tags(call).get(call.params["Resource"])
    if tags is None:
        return forward(call)
    tags.update(call.params["Tags"])
    return answer(call)


def untag(call: Call, forward: Forward) -> Response:
    """UntagResource fails for a code signing configuration.

    https://docs.aws.amazon.com/lambda/latest/api/API_UntagResource.html
    """
    tags = _tags(call).get(call.params["Resource"])
    if tags is None:
        return forward(call)
    for key in call.params["TagKeys"]:
        tags.pop(key, None)
    return answer(call)


def _set(config: dict[str, Any], call: Call) -> None:
    config.update({name: call.params[name] for name in MUTABLE if name in call.params})
    config["LastModified"] = f"{utcnow():%Y-%m-%dT%H:%M:%S.000+0000}"


def _configs(call: Call) -> dict[str, dict[str, Any]]:
    return shelf(backend_of(call.region), "code_signing_configs")


def _tags(call: Call) -> dict[str, dict[str, str]]:
    return shelf(backend_of(call.region), "code_signing_config_tags")


def _config(call: Call, error: str = "ResourceNotFoundException") -> dict[str, Any]:
    arn = call.params["CodeSigningConfigArn"]
    config = _configs(call).get(arn)
    if config is None:
        message = "The code signing configuration cannot be found."
        raise AwsError(error, f"{message} Check that the provided configuration is not deleted: {arn}.")
    return config


def _users(call: Call, arn: str) -> list[str]:
    """The functions that have a configuration."""
    users = [one.function_name for one in functions(call.region) if one.code_signing_config_arn == arn]
    return [function_arn(call.region, name) for name in users]


HANDLERS: Handlers = {
    ("lambda", "CreateCodeSigningConfig"): create,
    ("lambda", "DeleteCodeSigningConfig"): delete,
    ("lambda", "DeleteFunctionCodeSigningConfig"): delete_of_function,
    ("lambda", "GetCodeSigningConfig"): describe,
    ("lambda", "ListCodeSigningConfigs"): list_configs,
    ("lambda", "ListFunctionsByCodeSigningConfig"): list_functions,
    ("lambda", "ListTags"): list_tags,
    ("lambda", "PutFunctionCodeSigningConfig"): put_of_function,
    ("lambda", "TagResource"): tag,
    ("lambda", "UntagResource"): untag,
    ("lambda", "UpdateCodeSigningConfig"): update,
}
