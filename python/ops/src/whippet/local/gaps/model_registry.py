"""What moto does otherwise than SageMaker's model registry, or not at all.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html
"""

from __future__ import annotations

import json
import threading
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.gaps.sagemaker import backend
from whippet.local.services import Forward, Handlers

#: One version at a time gets its number.
_numbering = threading.Lock()


def create_package(call: Call, forward: Forward) -> Response:
    """CreateModelPackage leaves a version without an approval status, and gives a number again after a deletion.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html
    """
    name = call.params.get("ModelPackageGroupName", "").rpartition("/")[2]
    group, packages = backend(call).model_package_groups.get(name), backend(call).model_packages
    if group is None:
        return forward(call)
    with _numbering:
        known = dict(packages)
        response = forward(call)
        if response.status_code != 200:
            return response
        arn = json.loads(response.get_data())["ModelPackageArn"]
        package = packages.pop(arn)
        if arn in known:  # moto has counted the versions that are left, and has written over one of them
            packages[arn] = known[arn]
        group.versions = getattr(group, "versions", 0) + 1
        package.model_package_version = group.versions
        package.arn = call.arn(f"model-package/{name.lower()}/{group.versions}")
        package.model_approval_status = package.model_approval_status or "PendingManualApproval"
        packages[package.arn] = package
        backend(call).model_package_name_mapping[package.arn] = package.arn
    return answer(call, {"ModelPackageArn": package.arn})


def update_package(call: Call, forward: Forward) -> Response:
    """UpdateModelPackage forgets what it is not given, such as the approval.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateModelPackage.html
    """
    package = _package(call, call.params["ModelPackageArn"])
    kept = {name: getattr(package, name) for name in ("model_approval_status", "approval_description")}
    properties = dict(package.customer_metadata_properties or {})
    response = forward(call)
    if response.status_code == 200:
        if "ModelApprovalStatus" not in call.params:
            package.model_approval_status = kept["model_approval_status"]
        if "ApprovalDescription" not in call.params:
            package.approval_description = kept["approval_description"]
        properties |= call.params.get("CustomerMetadataProperties", {})
        removed = call.params.get("CustomerMetadataPropertiesToRemove", ())
        package.customer_metadata_properties = {key: value for key, value in properties.items() if key not in removed}
    return response


def delete_package(call: Call, forward: Forward) -> Response:
    """DeleteModelPackage is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteModelPackage.html
    """
    package = _package(call, call.params["ModelPackageName"])
    del backend(call).model_packages[package.arn]
    return answer(call)


def delete_group(call: Call, forward: Forward) -> Response:
    """DeleteModelPackageGroup is not implemented, so destroy hangs.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteModelPackageGroup.html
    """
    name, group = _group(call)
    if any(package.model_package_group_name == name for package in backend(call).model_packages.values()):
        raise AwsError(
            "ConflictException", f"Model Package Group {group.arn} cannot be deleted: it has model packages."
        )
    del backend(call).model_package_groups[name]
    return answer(call)


def put_group_policy(call: Call, forward: Forward) -> Response:
    """PutModelPackageGroupPolicy is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_PutModelPackageGroupPolicy.html
    """
    _, group = _group(call)
    group.policy = call.params["ResourcePolicy"]
    return answer(call, {"ModelPackageGroupArn": group.arn})


def get_group_policy(call: Call, forward: Forward) -> Response:
    """GetModelPackageGroupPolicy is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_GetModelPackageGroupPolicy.html
    """
    name, group = _group(call)
    policy = getattr(group, "policy", None)
    if policy is None:
        raise AwsError(
            "ValidationException", f"Cannot find resource policy for {call.arn(f'model-package-group/{name}')}."
        )
    return answer(call, {"ResourcePolicy": policy})


def delete_group_policy(call: Call, forward: Forward) -> Response:
    """DeleteModelPackageGroupPolicy is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteModelPackageGroupPolicy.html
    """
    _group(call)[1].policy = None
    return answer(call)


def _group(call: Call) -> tuple[str, Any]:
    name = call.params["ModelPackageGroupName"].rpartition("/")[2]
    group = backend(call).model_package_groups.get(name)
    if group is None:
        arn = call.arn(f"model-package-group/{name}")
        raise AwsError("ValidationException", f"ModelPackageGroup {arn} does not exist.")
    return name, group


def _package(call: Call, name: str) -> Any:
    arn = backend(call).model_package_name_mapping.get(name, name)
    package = backend(call).model_packages.get(arn)
    if package is None:
        raise AwsError("ValidationException", f"ModelPackage {name} does not exist.")
    return package


HANDLERS: Handlers = {
    ("sagemaker", "CreateModelPackage"): create_package,
    ("sagemaker", "DeleteModelPackage"): delete_package,
    ("sagemaker", "DeleteModelPackageGroup"): delete_group,
    ("sagemaker", "DeleteModelPackageGroupPolicy"): delete_group_policy,
    ("sagemaker", "GetModelPackageGroupPolicy"): get_group_policy,
    ("sagemaker", "PutModelPackageGroupPolicy"): put_group_policy,
    ("sagemaker", "UpdateModelPackage"): update_package,
}
