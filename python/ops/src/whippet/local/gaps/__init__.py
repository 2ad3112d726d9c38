"""Closes the gaps of moto that make Terraform hang, drift or fail: each function is one gap.

An operation that moto lacks is answered here; of one that moto answers wrongly, the answer is mended.
UpdateEndpoint is in `endpoints`, since it is more than a record.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.sagemaker.models import FakeEndpointConfig, FakeSagemakerNotebookInstance, sagemaker_backends
from moto.ssm.models import Parameter, ssm_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, json_answer, service_model
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def list_scaling_tags(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's ListTagsForResource, without which the provider tries until it gives up.

    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ListTagsForResource.html
    """
    return json_answer({"Tags": _scaling_tags(call)})


def tag_scaling_resource(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's TagResource."""
    _scaling_tags(call).update(call.params["Tags"])
    return json_answer({})


def untag_scaling_resource(call: Call, forward: Forward) -> Response:
    """Application Auto Scaling's UntagResource."""
    for key in call.params["TagKeys"]:
        _scaling_tags(call).pop(key, None)
    return json_answer({})


def register_scalable_target(call: Call, forward: Forward) -> Response:
    """RegisterScalableTarget drops the tags that it is given."""
    answer = forward(call)
    if answer.status_code == 200 and (tags := call.params.get("Tags")):
        _tags_by_arn(call)[json.loads(answer.get_data())["ScalableTargetARN"]] = dict(tags)
    return answer


def _scaling_tags(call: Call) -> dict[str, str]:
    return _tags_by_arn(call).setdefault(call.params["ResourceARN"], {})


def _tags_by_arn(call: Call) -> dict[str, dict[str, str]]:
    # On moto's own object, so that the tags go when moto is reset.
    backend: Any = applicationautoscaling_backends[ACCOUNT][call.region]
    tags: dict[str, dict[str, str]] = backend.__dict__.setdefault("tags_by_arn", {})
    return tags


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


#: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
DLAMI_PREFIX = "/aws/service/deeplearning/ami/"
DLAMI_PARAMETER = f"{DLAMI_PREFIX}x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04/latest/ami-id"
#: Made up: AWS has another id in each region and for each release.
DLAMI_ID = "ami-0d1a51259e7c0b250"
#: The account that owns the Deep Learning AMIs.
DLAMI_OWNER = "898082745236"


def public_ami_parameter(call: Call, forward: Forward) -> Response:
    """The public parameter of the Deep Learning AMI is missing, and so is the AMI."""
    names = [call.params.get("Name"), *call.params.get("Names", ())]
    if any(str(name).startswith(DLAMI_PREFIX) for name in names):
        _add_deep_learning_ami(call.region)
    return forward(call)


def describe_images(call: Call, forward: Forward) -> Response:
    """The AMI itself, for a caller that has kept its id."""
    _add_deep_learning_ami(call.region)
    return forward(call)


def modify_instance_attribute(call: Call, forward: Forward) -> Response:
    """ModifyInstanceAttribute takes away the security groups, whichever other attribute it is to change.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
    """
    instance: Any = ec2_backends[ACCOUNT][call.region].get_instance(call.params["InstanceId"])
    groups = instance.security_groups
    answer = forward(call)
    if "Groups" not in call.params:
        instance.security_groups = groups
    return answer


def _add_deep_learning_ami(region: str) -> None:
    parameters = ssm_backends[ACCOUNT][region]._parameters
    if DLAMI_PARAMETER in parameters:
        return
    released = datetime(2025, 6, 1, tzinfo=UTC)
    parameters[DLAMI_PARAMETER].append(
        Parameter(  # type: ignore[abstract]
            account_id=ACCOUNT,
            name=DLAMI_PARAMETER,
            value=DLAMI_ID,
            parameter_type="String",
            description=None,
            allowed_pattern=None,
            keyid=None,
            last_modified_date=released,
            version=1,
            data_type="aws:ec2:image",
        )
    )
    backend = ec2_backends[ACCOUNT][region]
    backend.amis[DLAMI_ID] = Ami(
        backend,
        DLAMI_ID,
        name="Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.5.1 (Ubuntu 22.04) 20250601",
        owner_id=DLAMI_OWNER,
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture="x86_64",
        creation_date=released,
        hypervisor="xen",
        root_device_type="ebs",
        region_name=f"{region}a",
    )


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


def _no_bucket_policy_check(self: Any, action: str, resource: str) -> PermissionResult:
    """Moto takes a bucket policy's unmet condition for a denial: one that asks for TLS would lock everybody out.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html#example-bucket-policies-HTTP-HTTPS
    """
    return PermissionResult.NEUTRAL


setattr(FakeEndpointConfig, "validate_instance_type", _knows_instance_type("ProductionVariantInstanceType"))  # noqa: B010
setattr(FakeSagemakerNotebookInstance, "validate_instance_type", _knows_instance_type("InstanceType"))  # noqa: B010
setattr(FakeBucket, "get_permission", _no_bucket_policy_check)  # noqa: B010


HANDLERS: Handlers = {
    ("application-autoscaling", "ListTagsForResource"): list_scaling_tags,
    ("application-autoscaling", "RegisterScalableTarget"): register_scalable_target,
    ("application-autoscaling", "TagResource"): tag_scaling_resource,
    ("application-autoscaling", "UntagResource"): untag_scaling_resource,
    ("ec2", "DescribeImages"): describe_images,
    ("ec2", "ModifyInstanceAttribute"): modify_instance_attribute,
    ("ec2", "RunInstances"): describe_images,
    ("sagemaker", "CreateModel"): create_model,
    ("sagemaker", "CreateNotebookInstance"): create_notebook_instance,
    ("sagemaker", "DeleteModelPackageGroup"): delete_model_package_group,
    ("sagemaker", "DescribeEndpoint"): describe_endpoint,
    ("sagemaker", "DescribeEndpointConfig"): describe_endpoint_config,
    ("sagemaker", "DescribeNotebookInstance"): describe_notebook_instance,
    ("sagemaker", "UpdateNotebookInstance"): update_notebook_instance,
    ("ssm", "GetParameter"): public_ami_parameter,
    ("ssm", "GetParameters"): public_ami_parameter,
}
