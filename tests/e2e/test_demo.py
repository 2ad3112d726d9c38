"""The whole line as a user runs it, on real photos where DATA names them, else on the sample set.

The tests share one demo and run in the order they stand in: the last ones tear it down.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from support.ports import free_port
from whippet.deployment import Deployment, second_plan
from whippet.local import control as local_aws
from whippet.predict import Answer, ask
from whippet.project import find_project

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DATA = os.environ.get("DATA")
CALLS, RESERVED = 60, 5


def whippet(*arguments: str, port: int, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(BIN / "whippet"), *arguments, "--port", str(port)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


class Demo:
    """The demo that ran: what it printed, its report, and clients for what it left up."""

    def __init__(self, port: int) -> None:
        self.port = port
        data = ["--data", DATA] if DATA else []
        self.printed = whippet("demo", *data, port=port).stdout
        folder = ROOT / "build" / "demo"
        self.report = json.loads((folder / "report.json").read_text())
        self.metrics = json.loads((folder / "run" / "metrics.json").read_text())
        self.model = folder / "run" / "model.tar.gz"
        data_folder = Path(DATA) if DATA else ROOT / "build" / "sample"
        self.photo = next(path for path in sorted((data_folder / "test").rglob("*.jpg")))
        self.deployment = Deployment(find_project(ROOT), "local", port)
        self.outputs = self.deployment.outputs
        self.pid = local_aws.status(port).pid  # type: ignore[union-attr]

    def environment(self) -> dict[str, str]:
        """What the demo tells a user to export."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": local_aws.url(self.port),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": self.outputs["region"],
        }

    def event(self) -> str:
        return json.dumps({"image": base64.b64encode(self.photo.read_bytes()).decode()})

    def role_client(self, service: str) -> Any:
        """A client with the credentials of the Lambda's role, which otherwise trusts Lambda alone."""
        iam, role_arn = self.deployment.client("iam"), self.outputs["lambda_role_arn"]
        name = role_arn.rpartition("/")[2]
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        account = {"AWS": role_arn.split(":")[4]}
        everybody = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": account}
        widened = json.dumps({**trust, "Statement": [*trust["Statement"], everybody]})
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=widened)
        try:
            sts = self.deployment.client("sts")
            assumed = sts.assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        finally:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
        return boto3.client(
            service,
            region_name=self.outputs["region"],
            endpoint_url=local_aws.url(self.port),
            aws_access_key_id=assumed["AccessKeyId"],
            aws_secret_access_key=assumed["SecretAccessKey"],
            aws_session_token=assumed["SessionToken"],
        )


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    port = free_port()
    try:
        yield Demo(port)
    finally:
        whippet("destroy", "--env", "local", port=port, check=False)
        whippet("local", "down", port=port, check=False)


def test_the_report_holds_every_measured_figure(demo: Demo) -> None:
    assert demo.report["train"].keys() == {"seconds", "images", "top1_valid", "top1_test"}
    assert demo.report["terraform"].keys() == {"apply_seconds", "resources", "second_plan"}
    assert demo.report["predict"].keys() >= {"n", "top1", "p50_ms", "p99_ms"}
    assert demo.report["train"]["images"] == sum(demo.metrics["data"]["images"].values())
    assert demo.report["predict"]["n"] == demo.metrics["data"]["images"]["test"]
    assert 0 < demo.report["predict"]["p50_ms"] <= demo.report["predict"]["p99_ms"]
    assert demo.report["total_seconds"] > demo.report["train"]["seconds"] + demo.report["terraform"]["apply_seconds"]


def test_the_classifier_is_accurate(demo: Demo) -> None:
    assert demo.report["predict"]["top1"] >= 0.90
    if "test_clean" in demo.metrics:
        assert demo.metrics["test_clean"]["top1"] >= 0.86


def test_the_lambda_agrees_with_the_trained_model(demo: Demo) -> None:
    assert demo.report["predict"]["agreement"] >= 0.995


def test_the_plan_right_after_is_clean(demo: Demo) -> None:
    assert demo.report["terraform"]["second_plan"] == "no changes"
    assert second_plan(demo.deployment, demo.model) == "no changes"


def test_it_answers_curl(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(demo.event())
    url = f"{local_aws.url(demo.port)}/2015-03-31/functions/{demo.outputs['lambda_function_name']}/invocations"
    done = subprocess.run(
        [
            "curl", "--silent", "--fail", "--user", "test:test", "--aws-sigv4",
            f"aws:amz:{demo.outputs['region']}:lambda", "--data", f"@{tmp_path / 'event.json'}", url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert json.loads(json.loads(done.stdout)["body"])["predictions"]


def test_it_answers_the_aws_cli(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(demo.event())
    subprocess.run(
        [
            str(BIN / "aws"), "lambda", "invoke", "--function-name", demo.outputs["lambda_function_name"],
            "--payload", f"fileb://{tmp_path / 'event.json'}", str(tmp_path / "answer.json"),
        ],
        env=demo.environment(),
        capture_output=True,
        check=True,
    )  # fmt: skip
    assert json.loads((tmp_path / "answer.json").read_text())["statusCode"] == 200


def test_predict_prints_what_is_in_a_photo(demo: Demo) -> None:
    answers = json.loads(whippet("predict", str(demo.photo), "--json", port=demo.port).stdout)
    assert [answer["status"] for answer in answers.values()] == [200]


def test_predict_says_what_is_wrong_with_a_file_that_is_no_picture(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    done = whippet("predict", str(tmp_path / "notes.txt"), "--json", port=demo.port, check=False)
    assert done.returncode == 1
    assert [answer["status"] for answer in json.loads(done.stdout).values()] == [415]


def test_calls_beyond_the_reserved_concurrency_are_throttled_and_nothing_else(demo: Demo) -> None:
    client, name, photo = (
        demo.deployment.client("lambda"),
        demo.outputs["lambda_function_name"],
        demo.photo.read_bytes(),
    )

    def call(number: int) -> Answer:
        return ask(client, name, photo, top_k=1)

    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(call, range(CALLS)))
    statuses = Counter(answer.status for answer in answers)
    assert statuses.keys() <= {200, 429}, [answer.detail for answer in answers if answer.status not in (200, 429)]
    assert statuses[200] >= RESERVED
    assert statuses[429] > 0
    assert {answer.label is not None for answer in answers if answer.status == 200} == {True}
    [function] = [item for item in local_aws.status(demo.port).functions if item.name == name]  # type: ignore[union-attr]
    assert function.environments <= RESERVED


def test_the_lambdas_role_may_invoke_this_endpoint_and_nothing_else(demo: Demo) -> None:
    runtime = demo.role_client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName=demo.outputs["endpoint_name"], ContentType="image/jpeg", Body=demo.photo.read_bytes()
    )
    assert json.loads(answer["Body"].read())["predictions"]

    denied: list[tuple[Any, str, dict[str, Any]]] = [
        (runtime, "invoke_endpoint", {"EndpointName": "another", "Body": b"x"}),
        (demo.role_client("sagemaker"), "delete_endpoint", {"EndpointName": demo.outputs["endpoint_name"]}),
        (demo.role_client("sagemaker"), "list_endpoints", {}),
        (demo.role_client("s3"), "list_objects_v2", {"Bucket": demo.outputs["artifacts_bucket"]}),
        (demo.role_client("lambda"), "invoke", {"FunctionName": demo.outputs["lambda_function_name"]}),
        (demo.role_client("iam"), "list_roles", {}),
        (demo.role_client("ec2"), "describe_instances", {}),
    ]
    for client, operation, arguments in denied:
        with pytest.raises(ClientError) as refused:
            getattr(client, operation)(**arguments)
        code = refused.value.response["Error"]["Code"]
        assert code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}, (operation, code)


def test_destroy_leaves_no_resource(demo: Demo) -> None:
    whippet("destroy", "--env", "local", port=demo.port)
    assert not (ROOT / "terraform" / "terraform.tfstate.d" / demo.deployment.workspace).exists()
    client = demo.deployment.client
    assert client("lambda").list_functions()["Functions"] == []
    while [one["EndpointStatus"] for one in client("sagemaker").list_endpoints()["Endpoints"]] == ["Deleting"]:
        time.sleep(0.1)  # its instance ends; Terraform does not wait for that
    assert client("sagemaker").list_endpoints()["Endpoints"] == []
    assert client("sagemaker").list_models()["Models"] == []
    assert client("sagemaker").list_notebook_instances()["NotebookInstances"] == []
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("logs").describe_log_groups()["logGroups"] == []
    assert [role for role in client("iam").list_roles()["Roles"] if role["Path"] != "/aws-service-role/"] == []
    instances = client("ec2").describe_instances()["Reservations"]
    assert {item["State"]["Name"] for group in instances for item in group["Instances"]} <= {"terminated"}
    status = local_aws.status(demo.port)
    assert status is not None
    assert (status.endpoints, status.functions) == ((), ())


def test_down_leaves_no_process(demo: Demo) -> None:
    processes = [psutil.Process(demo.pid), *psutil.Process(demo.pid).children(recursive=True)]
    whippet("local", "down", port=demo.port)
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert local_aws.status(demo.port) is None


def test_an_interrupted_demo_leaves_no_process() -> None:
    port = free_port()
    data = ["--data", DATA] if DATA else []
    process = subprocess.Popen(
        [str(BIN / "whippet"), "demo", *data, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while (running := local_aws.status(port)) is None:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 128 + signal.SIGINT
        assert local_aws.status(port) is None
        assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    finally:
        process.kill()
        whippet("local", "down", port=port, check=False)
        whippet("destroy", "--env", "local", port=port, check=False)
