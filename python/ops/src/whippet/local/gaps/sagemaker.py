"""What moto does otherwise than Amazon SageMaker, or not at all: models and tags.

Notebook instances are in `notebooks`, the model registry in `model_registry`.
"""

from __future__ import annotations

from typing import Any

from moto.sagemaker.models import FakeEndpointConfig, FakeSagemakerNotebookInstance, sagemaker_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer, service_model
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def backend(call: Call) -> Any:
    """Moto's records of SageMaker in the region of a call."""
    return sagemaker_backends[ACCOUNT][call.region]


def create_model(call: Call, forward: Forward) -> Response:
    """CreateModel drops the network isolation and how containers work together, which forces replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html
    """
    response = forward(call)
    if response.status_code == 200:
        model = backend(call).describe_model(call.params["ModelName"])
        model.parameters = {name: value for name, value in call.params.items() if name != "Tags"}
    return response


def describe_model(call: Call, forward: Forward) -> Response:
    """DescribeModel tells what CreateModel was given; moto's tells of an empty VpcConfig, which forces replacement.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeModel.html
    """
    response = forward(call)
    if response.status_code != 200:
        return response
    model = backend(call).describe_model(call.params["ModelName"])
    told = {"ModelArn": model.arn, "CreationTime": model.creation_time}
    return answer(call, {"EnableNetworkIsolation": False, **model.parameters, **told})


#: Where moto keeps what can be tagged, by the kind in its ARN: where AddTags of moto looks, and where it does not.
TAGGED = {
    "endpoint": "endpoints",
    "endpoint-config": "endpoint_configs",
    "hyper-parameter-tuning-job": "hyper_parameter_tuning_jobs",
    "model": "_models",
    "model-package": "model_packages",
    "model-package-group": "model_package_groups",
    "notebook-instance": "notebook_instances",
    "notebook-instance-lifecycle-config": "notebook_instance_lifecycle_configurations",
    "training-job": "training_jobs",
}


def list_tags(call: Call, forward: Forward) -> Response:
    """ListTags fails for a lifecycle configuration and a model package.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ListTags.html
    """
    resource = _resource(call)
    return forward(call) if resource is None else answer(call, {"Tags": _tags(resource)})


def add_tags(call: Call, forward: Forward) -> Response:
    """AddTags gives a resource two tags of one key.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AddTags.html
    """
    resource = _resource(call)
    if resource is None:
        return forward(call)
    tags = {tag["Key"]: tag["Value"] for tag in [*_tags(resource), *call.params["Tags"]]}
    resource.tags = [{"Key": key, "Value": value} for key, value in tags.items()]
    return answer(call, {"Tags": resource.tags})


def delete_tags(call: Call, forward: Forward) -> Response:
    """DeleteTags fails as ListTags does.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteTags.html
    """
    resource = _resource(call)
    if resource is None:
        return forward(call)
    resource.tags = [tag for tag in _tags(resource) if tag["Key"] not in call.params["TagKeys"]]
    return answer(call)


def _resource(call: Call) -> Any:
    """Moto's record of what the ARN names; None where it is of a kind that is left to moto.

    Raises:
        AwsError: there is no such resource.
    """
    arn = call.params["ResourceArn"]
    kind, _, name = arn.split(":")[-1].partition("/")
    if kind not in TAGGED:
        return None
    records: dict[str, Any] = getattr(backend(call), TAGGED[kind])
    record = records.get(arn if kind == "model-package" else name)
    if record is None:
        raise AwsError("ValidationException", f"Could not find resource {arn}.")
    return record


def _tags(resource: Any) -> list[dict[str, str]]:
    tags: list[dict[str, str]] | None = getattr(resource, "tags", None)
    return tags or []


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
    ("sagemaker", "AddTags"): add_tags,
    ("sagemaker", "CreateModel"): create_model,
    ("sagemaker", "DeleteTags"): delete_tags,
    ("sagemaker", "DescribeModel"): describe_model,
    ("sagemaker", "ListTags"): list_tags,
}
