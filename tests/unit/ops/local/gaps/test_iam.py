from __future__ import annotations

from typing import Any

import pytest

MANAGED = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"


def test_a_policy_of_aws_can_be_attached_and_read(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    local_aws.create_role("role", local_aws.allow("logs:*"))
    iam.attach_role_policy(RoleName="role", PolicyArn=MANAGED)
    attached = iam.list_attached_role_policies(RoleName="role")["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [MANAGED]
    version = iam.get_policy(PolicyArn=MANAGED)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=MANAGED, VersionId=version)["PolicyVersion"]["Document"]
    assert "ssm:UpdateInstanceInformation" in str(document)


def test_a_policy_that_aws_has_not_cannot_be_attached(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    local_aws.create_role("role", local_aws.allow("logs:*"))
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.attach_role_policy(RoleName="role", PolicyArn=f"{MANAGED}Dogs")


def test_updating_one_thing_of_a_role_leaves_the_other(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    local_aws.create_role("role", local_aws.allow("logs:*"))
    iam.update_role(RoleName="role", Description="Trains", MaxSessionDuration=7200)
    iam.update_role(RoleName="role", Description="Serves")
    role = iam.get_role(RoleName="role")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("Serves", 7200)
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="cannot be found"):
        iam.update_role(RoleName="none", Description="Trains")


def test_the_clients_of_an_identity_provider_can_be_changed(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    arn = iam.create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["first"], ThumbprintList=["0" * 40]
    )["OpenIDConnectProviderArn"]
    for client in ("second", "second"):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=client)
    for client in ("first", "first"):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=client)
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["second"]
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="Provider not found"):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=f"{arn}.example", ClientID="first")
