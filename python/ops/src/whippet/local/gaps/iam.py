"""What moto does otherwise than AWS IAM, or not at all."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

MANAGED_POLICY = "arn:aws:iam::aws:policy/"


def with_managed_policy(call: Call, forward: Forward) -> Response:
    """AWS's own policies are there as soon as one is named; moto would hold all 1,300 in memory or none.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-vs-inline.html#aws-managed-policies
    """
    arn = str(call.params.get("PolicyArn") or call.params.get("PermissionsBoundary"))
    policies = _backend().managed_policies
    if arn.startswith(MANAGED_POLICY) and arn not in policies:
        name = arn.rpartition("/")[2]
        if data := json.loads(aws_managed_policies_data).get(name):
            policy = AWSManagedPolicy.from_data(name, ACCOUNT, "us-east-1", data)
            policies[policy.arn] = policy
    return forward(call)


def update_role(call: Call, forward: Forward) -> Response:
    """UpdateRole forgets what it is not given.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateRole.html
    """
    name = call.params["RoleName"]
    role = next((role for role in _backend().roles.values() if role.name == name), None)
    if role is None:
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", status=404)
    role.description = call.params.get("Description", role.description)
    role.max_session_duration = call.params.get("MaxSessionDuration", role.max_session_duration)
    return answer(call)


def add_client_id(call: Call, forward: Forward) -> Response:
    """AddClientIDToOpenIDConnectProvider is not implemented.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddClientIDToOpenIDConnectProvider.html
    """
    clients = _identity_provider(call).client_id_list
    if call.params["ClientID"] not in clients:
        clients.append(call.params["ClientID"])
    return answer(call)


def remove_client_id(call: Call, forward: Forward) -> Response:
    """RemoveClientIDFromOpenIDConnectProvider is not implemented; to remove what is not there is no error.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_RemoveClientIDFromOpenIDConnectProvider.html
    """
    provider = _identity_provider(call)
    provider.client_id_list = [client for client in provider.client_id_list if client != call.params["ClientID"]]
    return answer(call)


def _identity_provider(call: Call) -> Any:
    arn = call.params["OpenIDConnectProviderArn"]
    provider = _backend().open_id_providers.get(arn)
    if provider is None:
        raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", status=404)
    return provider


def _backend() -> Any:
    return iam_backends[ACCOUNT]["aws"]


HANDLERS: Handlers = {
    ("iam", "AddClientIDToOpenIDConnectProvider"): add_client_id,
    ("iam", "RemoveClientIDFromOpenIDConnectProvider"): remove_client_id,
    ("iam", "UpdateRole"): update_role,
    **{
        ("iam", operation): with_managed_policy
        for operation in (
            "AttachGroupPolicy",
            "AttachRolePolicy",
            "AttachUserPolicy",
            "CreateRole",
            "CreateUser",
            "GetPolicy",
            "GetPolicyVersion",
            "ListPolicyVersions",
            "PutRolePermissionsBoundary",
            "PutUserPermissionsBoundary",
        )
    },
}
