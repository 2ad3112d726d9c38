"""What AWS refuses before it looks at anything, as boto3 would find out only there: here it checks nothing itself."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/endpoint/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
VARIANT = {
    "VariantName": "main",
    "ModelName": "model",
    "InstanceType": "ml.c6i.large",
    "InitialInstanceCount": 1,
}
ALARM = {"AlarmName": "errors", "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}


def refusal(local_aws: Any, service: str, operation: str, **parameters: Any) -> tuple[str, str]:
    """The code and the message of an error."""
    client = boto3.client(  # type: ignore[call-overload]
        service,
        region_name="us-east-1",
        endpoint_url=local_aws.settings.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**parameters)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "message"),
    [
        (
            "sagemaker",
            "create_endpoint",
            {"EndpointName": "endpoint"},
            "Value null at 'endpointConfigName' failed to satisfy constraint: Member must not be null",
        ),
        (
            "sagemaker",
            "create_endpoint",
            {"EndpointName": "under_score", "EndpointConfigName": "config"},
            "Value 'under_score' at 'endpointName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        (
            "sagemaker",
            "create_endpoint_config",
            {"EndpointConfigName": "config", "ProductionVariants": [VARIANT | {"InitialInstanceCount": 0}]},
            "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            "application-autoscaling",
            "register_scalable_target",
            TARGET | {"ScalableDimension": "sagemaker:variant:Count"},
            "Value 'sagemaker:variant:Count' at 'scalableDimension' failed to satisfy constraint: "
            "Member must satisfy enum value set: [",
        ),
        (
            "application-autoscaling",
            "put_scheduled_action",
            TARGET | {"ScheduledActionName": "", "Schedule": "at(2030-01-01T00:00:00)"},
            "Value '' at 'scheduledActionName' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
    ],
)
def test_what_no_operation_allows_is_refused_in_the_words_of_aws(
    local_aws: Any, service: str, operation: str, parameters: dict[str, Any], message: str
) -> None:
    code, told = refusal(local_aws, service, operation, **parameters)
    assert code == "ValidationException"
    assert told.startswith(f"1 validation error detected: {message}")


def test_all_that_is_wrong_is_told_at_once(local_aws: Any) -> None:
    wrong = ALARM | {"ComparisonOperator": "IsLarge", "EvaluationPeriods": 0}
    code, told = refusal(local_aws, "cloudwatch", "put_metric_alarm", **wrong)
    assert code == "ValidationError"
    assert told.startswith("2 validation errors detected: Value ")
    assert "Value 'IsLarge' at 'comparisonOperator' failed to satisfy constraint: Member must satisfy enum" in told
    assert "Value '0' at 'evaluationPeriods' failed to satisfy constraint: Member must have value greater" in told


def test_a_pattern_is_not_matched_against_what_is_too_long(local_aws: Any) -> None:
    long = {"EndpointName": "a" * 5000 + "!", "EndpointConfigName": "config"}
    _, told = refusal(local_aws, "sagemaker", "create_endpoint", **long)
    assert told.startswith("1 validation error detected: ")
    assert told.endswith("Member must have length less than or equal to 63")
