from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/role"


@pytest.fixture
def notebooks(local_aws: Any) -> Any:
    """A client, and a role for notebook instances."""
    local_aws.create_role("role", local_aws.allow("logs:*"))
    return local_aws.client("sagemaker")


def test_a_notebook_instance_keeps_what_it_is_given_and_can_be_changed_once_stopped(notebooks: Any) -> None:
    notebooks.create_notebook_instance(
        NotebookInstanceName="notebook",
        InstanceType="ml.t3.medium",
        RoleArn=ROLE,
        PlatformIdentifier="notebook-al2-v3",
        InstanceMetadataServiceConfiguration={"MinimumInstanceMetadataServiceVersion": "2"},
    )
    described = notebooks.describe_notebook_instance(NotebookInstanceName="notebook")
    assert described["PlatformIdentifier"] == "notebook-al2-v3"
    assert described["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    change = {"NotebookInstanceName": "notebook", "InstanceType": "ml.t3.large", "VolumeSizeInGB": 20}
    with pytest.raises(ClientError, match=r"not in \(\[Stopped, Failed\]\)"):
        notebooks.update_notebook_instance(**change)
    notebooks.stop_notebook_instance(NotebookInstanceName="notebook")
    notebooks.update_notebook_instance(**change)
    described = notebooks.describe_notebook_instance(NotebookInstanceName="notebook")
    assert (described["InstanceType"], described["VolumeSizeInGB"]) == ("ml.t3.large", 20)
    assert described["PlatformIdentifier"] == "notebook-al2-v3"


def test_what_a_notebook_instance_has_can_be_taken_away(notebooks: Any) -> None:
    notebooks.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="config")
    notebooks.create_notebook_instance(
        NotebookInstanceName="notebook",
        InstanceType="ml.t3.medium",
        RoleArn=ROLE,
        LifecycleConfigName="config",
        DefaultCodeRepository="https://example.org/dogs.git",
    )
    notebooks.stop_notebook_instance(NotebookInstanceName="notebook")
    notebooks.update_notebook_instance(
        NotebookInstanceName="notebook", DisassociateLifecycleConfig=True, DisassociateDefaultCodeRepository=True
    )
    described = notebooks.describe_notebook_instance(NotebookInstanceName="notebook")
    assert "NotebookInstanceLifecycleConfigName" not in described
    assert "DefaultCodeRepository" not in described


def test_only_a_stopped_notebook_instance_starts_and_only_one_in_service_stops(notebooks: Any) -> None:
    named = {"NotebookInstanceName": "notebook"}
    notebooks.create_notebook_instance(**named, InstanceType="ml.t3.medium", RoleArn=ROLE)
    with pytest.raises(ClientError, match=r"Status \(InService\) not in \(\[Stopped, Failed\]\)"):
        notebooks.start_notebook_instance(**named)
    assert notebooks.create_presigned_notebook_instance_url(**named)["AuthorizedUrl"].startswith("https://")
    notebooks.stop_notebook_instance(**named)
    with pytest.raises(ClientError, match=r"Status \(Stopped\) not in \(\[InService\]\)"):
        notebooks.stop_notebook_instance(**named)
    with pytest.raises(ClientError, match="Stopped"):
        notebooks.create_presigned_notebook_instance_url(**named)
    notebooks.start_notebook_instance(**named)
    assert notebooks.describe_notebook_instance(**named)["NotebookInstanceStatus"] == "InService"


def test_a_notebook_instance_that_is_none_is_not_found(notebooks: Any) -> None:
    with pytest.raises(ClientError, match="RecordNotFound"):
        notebooks.stop_notebook_instance(NotebookInstanceName="none")


def test_the_scripts_of_a_lifecycle_configuration_can_be_changed(notebooks: Any) -> None:
    named = {"NotebookInstanceLifecycleConfigName": "config"}
    first, second = ([{"Content": content}] for content in ("ZWNobyBmaXJzdA==", "ZWNobyBzZWNvbmQ="))
    notebooks.create_notebook_instance_lifecycle_config(**named, OnCreate=first, OnStart=first)
    notebooks.update_notebook_instance_lifecycle_config(**named, OnStart=second)
    described = notebooks.describe_notebook_instance_lifecycle_config(**named)
    assert (described["OnCreate"], described["OnStart"]) == (first, second)


def test_lifecycle_configurations_are_listed_and_one_that_is_none_is_not_found(notebooks: Any) -> None:
    for name in ("first", "second"):
        notebooks.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)
    found = notebooks.list_notebook_instance_lifecycle_configs(NameContains="sec")["NotebookInstanceLifecycleConfigs"]
    assert [one["NotebookInstanceLifecycleConfigName"] for one in found] == ["second"]
    with pytest.raises(ClientError, match="Unable to describe Notebook Instance Lifecycle Config"):
        notebooks.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="third")
