"""Permissions boundaries of users, which moto has for roles only.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
"""

from __future__ import annotations

from werkzeug.wrappers import Response

from whippet.local.access.principals import iam
from whippet.local.calls import AwsError, Call, answer
from whippet.local.services import Forward, Handlers


def create_user(call: Call, forward: Forward) -> Response:
    """CreateUser, which may set a boundary at once."""
    boundary = call.params.get("PermissionsBoundary")
    if boundary:
        _check_exists(boundary)
    response = forward(call)
    if boundary and response.status_code == 200:
        _set_boundary(call.params["UserName"], boundary)
    return response


def put_boundary(call: Call, forward: Forward) -> Response:
    """PutUserPermissionsBoundary."""
    _check_exists(call.params["PermissionsBoundary"])
    _set_boundary(call.params["UserName"], call.params["PermissionsBoundary"])
    return answer(call)


def delete_boundary(call: Call, forward: Forward) -> Response:
    """DeleteUserPermissionsBoundary."""
    _set_boundary(call.params["UserName"], None)
    return answer(call)


def _check_exists(policy_arn: str) -> None:
    if policy_arn not in iam().managed_policies:
        raise AwsError("NoSuchEntity", f"Policy {policy_arn} does not exist or is not attachable.", status=404)


def _set_boundary(user_name: str, policy_arn: str | None) -> None:
    user = iam().get_user(user_name)
    user.permissions_boundary_arn = policy_arn
    # What moto writes into its answers, as of roles.
    described = {"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": policy_arn}
    user.permissions_boundary = described if policy_arn else None


HANDLERS: Handlers = {
    ("iam", "CreateUser"): create_user,
    ("iam", "DeleteUserPermissionsBoundary"): delete_boundary,
    ("iam", "PutUserPermissionsBoundary"): put_boundary,
}
