from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import whippet_lambda

SOURCE = Path(whippet_lambda.__file__).parents[1]
ENVIRONMENT = {
    "WHIPPET_ENDPOINT_NAME": "breeds",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What is imported once the function is ready, in a process that finds nothing but the function and Python."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import whippet_lambda.handler, json\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(SOURCE)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module", ["boto3", "botocore", "urllib3", "dataclasses", "inspect", "asyncio", "whippet_lambda.fetch"]
)
def test_the_cold_start_does_not_pay_for(imported: set[str], module: str) -> None:
    assert module not in imported


def test_the_cold_start_imports_no_more_of_the_function_than_every_call_uses(imported: set[str]) -> None:
    ours = {name.removeprefix("whippet_lambda.") for name in imported if name.startswith("whippet_lambda.")}
    used = {"answer", "config", "connection", "deadline", "endpoint", "event", "handler", "photo", "problem"}
    assert ours == used | {"metrics", "retries", "signature"}
