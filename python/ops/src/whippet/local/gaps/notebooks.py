"""What moto does otherwise than SageMaker's notebook instances, or not at all. Nothing runs behind one."""

from __future__ import annotations

import json
import uuid
from typing import Any

from moto.core.utils import utcnow
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer, json_answer
from whippet.local.gaps.sagemaker import backend
from whippet.local.services import Forward, Handlers

#: What moto drops of a notebook instance, with AWS's default where it has one.
EXTRAS = {"PlatformIdentifier": "notebook-al2-v2", "InstanceMetadataServiceConfiguration": None}

#: UpdateNotebookInstance's parameters, and moto's names of what they change.
ATTRIBUTES = {
    "AcceleratorTypes": "accelerator_types",
    "AdditionalCodeRepositories": "additional_code_repositories",
    "DefaultCodeRepository": "default_code_repository",
    "InstanceType": "instance_type",
    "LifecycleConfigName": "lifecycle_config_name",
    "RoleArn": "role_arn",
    "RootAccess": "root_access",
    "VolumeSizeInGB": "volume_size_in_gb",
}
#: Its parameters that take something away.
DISASSOCIATIONS = {
    "DisassociateAcceleratorTypes": "accelerator_types",
    "DisassociateAdditionalCodeRepositories": "additional_code_repositories",
    "DisassociateDefaultCodeRepository": "default_code_repository",
    "DisassociateLifecycleConfig": "lifecycle_config_name",
}
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
URL_SECONDS = 43200


def create(call: Call, forward: Forward) -> Response:
    """CreateNotebookInstance drops the platform and the metadata service's version: the one forces replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateNotebookInstance.html
    """
    response = forward(call)
    if response.status_code == 200:
        notebook = _notebook(call)
        notebook.extras = {name: call.params.get(name, default) for name, default in EXTRAS.items()}
    return response


def describe(call: Call, forward: Forward) -> Response:
    """DescribeNotebookInstance does not tell the platform and the metadata service's version.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeNotebookInstance.html
    """
    response = forward(call)
    if response.status_code != 200:
        return response
    extras = {name: value for name, value in _notebook(call).extras.items() if value is not None}
    return json_answer({**json.loads(response.get_data()), **extras})


def update(call: Call, forward: Forward) -> Response:
    """UpdateNotebookInstance is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateNotebookInstance.html
    """
    notebook = _notebook(call)
    _check_transition(notebook, ("Stopped", "Failed"), "Updating")
    for parameter, attribute in DISASSOCIATIONS.items():
        if call.params.get(parameter):
            setattr(notebook, attribute, None)
    for parameter, attribute in ATTRIBUTES.items():
        if parameter in call.params:
            setattr(notebook, attribute, call.params[parameter])
    notebook.extras.update({name: call.params[name] for name in EXTRAS if name in call.params})
    notebook.last_modified_time = utcnow()
    return answer(call)


def start(call: Call, forward: Forward) -> Response:
    """StartNotebookInstance takes one that runs; AWS does not.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StartNotebookInstance.html
    """
    _check_transition(_notebook(call), ("Stopped", "Failed"), "Pending")
    return forward(call)


def stop(call: Call, forward: Forward) -> Response:
    """StopNotebookInstance takes one that does not run; AWS does not.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopNotebookInstance.html
    """
    _check_transition(_notebook(call), ("InService",), "Stopping")
    return forward(call)


def create_presigned_url(call: Call, forward: Forward) -> Response:
    """CreatePresignedNotebookInstanceUrl is not implemented; there is nothing behind the URL.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
    """
    notebook = _notebook(call)
    _check_transition(notebook, ("InService",), "Presigned")
    return answer(call, {"AuthorizedUrl": f"https://{notebook.url}?authToken={uuid.uuid4().hex}"})


def _notebook(call: Call) -> Any:
    name = call.params["NotebookInstanceName"]
    notebook = backend(call).notebook_instances.get(name)
    if notebook is None:
        raise AwsError("ValidationException", "RecordNotFound")  # in SageMaker's own words
    return notebook


def _check_transition(notebook: Any, states: tuple[str, ...], to: str) -> None:
    if notebook.status not in states:
        message = f"Status ({notebook.status}) not in ([{', '.join(states)}]). Unable to transition to ({to})"
        raise AwsError("ValidationException", f"{message} for Notebook Instance ({notebook.arn})")


def create_lifecycle_config(call: Call, forward: Forward) -> Response:
    """CreateNotebookInstanceLifecycleConfig drops the tags.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateNotebookInstanceLifecycleConfig.html
    """
    response = forward(call)
    if response.status_code == 200:
        _lifecycle_config(call).tags = call.params.get("Tags", [])
    return response


def describe_lifecycle_config(call: Call, forward: Forward) -> Response:
    """DescribeNotebookInstanceLifecycleConfig, without the tags, which AWS has elsewhere.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeNotebookInstanceLifecycleConfig.html
    """
    config = _lifecycle_config(call)
    return answer(
        call,
        {
            **_summary(config),
            "OnCreate": config.on_create,
            "OnStart": config.on_start,
        },
    )


def update_lifecycle_config(call: Call, forward: Forward) -> Response:
    """UpdateNotebookInstanceLifecycleConfig is not implemented.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateNotebookInstanceLifecycleConfig.html
    """
    config = _lifecycle_config(call)
    config.on_create = call.params.get("OnCreate", config.on_create)
    config.on_start = call.params.get("OnStart", config.on_start)
    config.last_modified_time = utcnow()
    return answer(call)


def list_lifecycle_configs(call: Call, forward: Forward) -> Response:
    """ListNotebookInstanceLifecycleConfigs is not implemented; here it has one page.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ListNotebookInstanceLifecycleConfigs.html
    """
    part = call.params.get("NameContains", "")
    configs = backend(call).notebook_instance_lifecycle_configurations
    found = [_summary(config) for name, config in configs.items() if part in name]
    return answer(call, {"NotebookInstanceLifecycleConfigs": found})


def _summary(config: Any) -> dict[str, Any]:
    return {
        "NotebookInstanceLifecycleConfigName": config.notebook_instance_lifecycle_config_name,
        "NotebookInstanceLifecycleConfigArn": config.arn,
        "CreationTime": config.creation_time,
        "LastModifiedTime": config.last_modified_time,
    }


def _lifecycle_config(call: Call) -> Any:
    name = call.params["NotebookInstanceLifecycleConfigName"]
    config = backend(call).notebook_instance_lifecycle_configurations.get(name)
    if config is None:
        arn = call.arn(f"notebook-instance-lifecycle-config/{name}")
        raise AwsError("ValidationException", f"Unable to describe Notebook Instance Lifecycle Config '{arn}'.")
    return config


HANDLERS: Handlers = {
    ("sagemaker", "CreateNotebookInstance"): create,
    ("sagemaker", "CreateNotebookInstanceLifecycleConfig"): create_lifecycle_config,
    ("sagemaker", "CreatePresignedNotebookInstanceUrl"): create_presigned_url,
    ("sagemaker", "DescribeNotebookInstance"): describe,
    ("sagemaker", "DescribeNotebookInstanceLifecycleConfig"): describe_lifecycle_config,
    ("sagemaker", "ListNotebookInstanceLifecycleConfigs"): list_lifecycle_configs,
    ("sagemaker", "StartNotebookInstance"): start,
    ("sagemaker", "StopNotebookInstance"): stop,
    ("sagemaker", "UpdateNotebookInstance"): update,
    ("sagemaker", "UpdateNotebookInstanceLifecycleConfig"): update_lifecycle_config,
}
