"""The peer of benchmarks/lambda_cold_start.py: the least that a function on the SDK's own client has to do."""

import base64
import json
import os
from typing import Any

import boto3

CLIENT = boto3.client("sagemaker-runtime")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers `{"image": base64}` with what the endpoint says."""
    photo = base64.b64decode(event["image"])
    answer = CLIENT.invoke_endpoint(
        EndpointName=os.environ["WHIPPET_ENDPOINT_NAME"],
        ContentType="image/jpeg",
        Accept="application/json",
        Body=photo,
    )
    body = json.loads(answer["Body"].read())
    body["request_id"] = context.aws_request_id
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
