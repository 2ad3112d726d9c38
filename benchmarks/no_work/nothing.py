"""A function that does nothing: what Lambda's runtime itself takes, for benchmarks/lambda_cold_start.py."""

from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers at once."""
    return {"statusCode": 200, "headers": {}, "body": "{}"}
