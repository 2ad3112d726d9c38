"""What moto does otherwise than Amazon SageMaker, or not at all."""

from __future__ import annotations

import json
from typing import Any

from moto.core.utils import utcnow
from moto.sagemaker.models import FakeEndpointConfig, FakeSagemakerNotebookInstance, sagemaker_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, json_answer, service_model
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def create_model(call: Call, forward: Forward) -> Response:
    """CreateModel drops EnableNetworkIsolation, and DescribeModel tells of an empty VpcConfig: both force replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeModel.html
    """
    answer = forward(call)
    if answer.status_code == 200:
        model: Any = sagemaker_backends[ACCOUNT][call.region].describe_model(call.params["ModelName"])
        model.enable_network_isolation = bool(call.params.get("EnableNetworkIsolation", False))
        # moto leaves out of its answer what is None.
        model.vpc_config = model.vpc_config or None
        model.primary_container = model.primary_container or None
    return answer


def describe_endpoint_config(call: Call, forward: Forward) -> Response:
    """DescribeEndpointConfig makes up a data capture of zeros where none is configured, which forces replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpointConfig.html
    """
    return _without_empty(forward(call), "DataCaptureConfig")


def describe_endpoint(call: Call, forward: Forward) -> Response:
    """DescribeEndpoint does the same."""
    return _without_empty(forward(call), "DataCaptureConfig")


def _without_empty(answer: Response, member: str) -> Response:
    payload = json.loads(answer.get_data())
    if answer.status_code != 200 or payload.get(member):
        return answer
    payload.pop(member, None)
    return json_answer(payload)


def delete_model_package_group(call: Call, forward: Forward) -> Response:
    """DeleteModelPackageGroup is not implemented, so destroy hangs.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteModelPackageGroup.html
    """
    groups = sagemaker_backends[ACCOUNT][call.region].model_package_groups
    name = call.params["ModelPackageGroupName"]
    if groups.pop(name, None) is None:
        arn = call.arn(f"model-package-group/{name}")
        raise AwsError("ValidationException", f"ModelPackageGroup {arn} does not exist.")
    return json_answer({})


#: What moto drops of a notebook instance, with AWS's default where it has one.
NOTEBOOK_EXTRAS = {"PlatformIdentifier": "notebook-al2-v2", "InstanceMetadataServiceConfiguration": None}


def create_notebook_instance(call: Call, forward: Forward) -> Response:
    """CreateNotebookInstance drops the platform and the metadata service's version: the one forces replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateNotebookInstance.html
    """
    answer = forward(call)
    if answer.status_code == 200:
        notebook: Any = sagemaker_backends[ACCOUNT][call.region].get_notebook_instance(
            call.params["NotebookInstanceName"]
        )
        notebook.extras = {name: call.params.get(name, default) for name, default in NOTEBOOK_EXTRAS.items()}
    return answer


def describe_notebook_instance(call: Call, forward: Forward) -> Response:
    """DescribeNotebookInstance tells what CreateNotebookInstance has kept."""
    answer = forward(call)
    if answer.status_code != 200:
        return answer
    notebook: Any = sagemaker_backends[ACCOUNT][call.region].get_notebook_instance(call.params["NotebookInstanceName"])
    extras = {name: value for name, value in notebook.extras.items() if value is not None}
    return json_answer({**json.loads(answer.get_data()), **extras})


#: UpdateNotebookInstance's parameters, and moto's names of what they change.
NOTEBOOK_ATTRIBUTES = {
    "AcceleratorTypes": "accelerator_types",
    "AdditionalCodeRepositories": "additional_code_repositories",
    "DefaultCodeRepository": "default_code_repository",
    "InstanceType": "instance_type",
    "LifecycleConfigName": "lifecycle_config_name",
    "RoleArn": "role_arn",
    "RootAccess": "root_access",
    "VolumeSizeInGB": "volume_size_in_gb",
}


def update_notebook_instance(call: Call, forward: Forward) -> Response:
    """UpdateNotebookInstance is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateNotebookInstance.html
    """
    notebook: Any = sagemaker_backends[ACCOUNT][call.region].get_notebook_instance(call.params["NotebookInstanceName"])
    if notebook.status not in ("Stopped", "Failed"):
        message = f"Status ({notebook.status}) not in ([Stopped, Failed]). Unable to transition to (Updating)"
        raise AwsError("ValidationException", f"{message} for Notebook Instance ({notebook.arn})")
    for parameter, attribute in NOTEBOOK_ATTRIBUTES.items():
        if parameter in call.params:
            setattr(notebook, attribute, call.params[parameter])
    notebook.extras.update({name: call.params[name] for name in NOTEBOOK_EXTRAS if name in call.params})
    notebook.last_modified_time = utcnow()
    return json_answer({})


def _knows_instance_type(enumeration: str) -> Any:
    """A check of instance types against botocore's list: moto's is years old and refuses, say, ml.c6i.large."""

    def validate(self: Any, instance_type: str) -> None:
        model = service_model("sagemaker")
        known: list[str] = getattr(model.shape_for(enumeration), "enum", []) if model else []
        if instance_type not in known:
            raise AwsError(
                "ValidationException",
                f"1 validation error detected: Value '{instance_type}' at 'instanceType' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{', '.join(known)}]",
            )

    return validate


setattr(FakeEndpointConfig, "validate_instance_type", _knows_instance_type("ProductionVariantInstanceType"))  # noqa: B010
setattr(FakeSagemakerNotebookInstance, "validate_instance_type", _knows_instance_type("InstanceType"))  # noqa: B010


HANDLERS: Handlers = {
    ("sagemaker", "CreateModel"): create_model,
    ("sagemaker", "CreateNotebookInstance"): create_notebook_instance,
    ("sagemaker", "DeleteModelPackageGroup"): delete_model_package_group,
    ("sagemaker", "DescribeEndpoint"): describe_endpoint,
    ("sagemaker", "DescribeEndpointConfig"): describe_endpoint_config,
    ("sagemaker", "DescribeNotebookInstance"): describe_notebook_instance,
    ("sagemaker", "UpdateNotebookInstance"): update_notebook_instance,
}
