"""What local AWS holds survives `kill -9` of its process."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from random import Random
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from support.stack import Stack
from whippet.local import control

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6-cpu-py312"
#: How often it is killed, and how many write meanwhile.
TURNS, WRITERS = 4, 4
SCALED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/endpoint/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def kill(status: control.Status) -> None:
    """Ends the process as the kernel does when memory runs out, and waits for it and for its children."""
    process = psutil.Process(status.pid)
    children = process.children(recursive=True)
    os.kill(status.pid, signal.SIGKILL)
    psutil.wait_procs([process, *children], timeout=20)


def running(daemon: Any) -> control.Status:
    status = control.status(daemon.port)
    assert status is not None
    return status


def call_function(daemon: Any, qualifier: str = "$LATEST") -> Any:
    answer = daemon.client("lambda").invoke(FunctionName="function", Qualifier=qualifier, Payload=b'{"number": 41}')
    return json.loads(answer["Payload"].read())


def endpoint_with(daemon: Any, instances: int) -> control.EndpointStatus | None:
    """What runs of the endpoint, None while it has another number of instances."""
    [endpoint] = running(daemon).endpoints
    return endpoint if len(endpoint.instances) == instances else None


def start_job(daemon: Any, role: str) -> None:
    """A training job that would run for a minute, waited for until it runs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        source = b"import time; time.sleep(60)"
        member = tarfile.TarInfo("train.py")
        member.size = len(source)
        archive.addfile(member, io.BytesIO(source))
    daemon.client("s3").create_bucket(Bucket="jobs")
    daemon.client("s3").put_object(Bucket="jobs", Key="code.tar.gz", Body=packed.getvalue())
    daemon.client("sagemaker").create_training_job(
        TrainingJobName="job",
        HyperParameters={
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": "s3://jobs/code.tar.gz",
        },
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        RoleArn=role,
        OutputDataConfig={"S3OutputPath": "s3://jobs/models"},
        ResourceConfig={"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    daemon.eventually(lambda: [job.pids for job in running(daemon).jobs if job.pids])


def client_of(daemon: Any, service: str, credentials: dict[str, str]) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=control.url(daemon.port),
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
    )


def test_objects_keys_and_callers_come_back(daemon: Any) -> None:
    before = daemon.up()
    s3, iam, kms = (daemon.client(service) for service in ("s3", "iam", "kms"))
    s3.create_bucket(Bucket="photos")
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    versions = [s3.put_object(Bucket="photos", Key="a.jpg", Body=body)["VersionId"] for body in (b"first", b"second")]
    role = daemon.create_role()
    session = daemon.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    iam.create_user(UserName="user")
    access_key = iam.create_access_key(UserName="user")["AccessKey"]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    encrypted = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]

    kill(before)
    after = daemon.up()

    assert (after.id, after.notice) == (before.id, "")
    assert after.pid != before.pid
    read = [s3.get_object(Bucket="photos", Key="a.jpg", VersionId=one)["Body"].read() for one in versions]
    assert read == [b"first", b"second"]
    assert iam.list_role_policies(RoleName="role")["PolicyNames"] == ["inline"]
    assert kms.decrypt(CiphertextBlob=encrypted)["Plaintext"] == b"secret"
    assert client_of(daemon, "s3", session).get_object(Bucket="photos", Key="a.jpg")["Body"].read() == b"second"
    with pytest.raises(ClientError, match="not authorized"):
        client_of(daemon, "iam", session).list_users()
    assert client_of(daemon, "sts", access_key).get_caller_identity()["Arn"].endswith(":user/user")


def test_what_was_running_runs_again(daemon: Any) -> None:
    before = daemon.up(container_command=daemon.container)
    role = daemon.create_role()
    daemon.create_function(role)
    functions = daemon.client("lambda")
    functions.publish_version(FunctionName="function")
    functions.create_alias(FunctionName="function", Name="live", FunctionVersion="1")
    functions.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=3)
    daemon.create_endpoint(role, instances=2)
    cloudwatch, scaling = daemon.client("cloudwatch"), daemon.client("application-autoscaling")
    cloudwatch.put_metric_alarm(
        AlarmName="alarm",
        Namespace="project",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    scaling.register_scalable_target(**SCALED, MinCapacity=1, MaxCapacity=3)
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    scaling.put_scaling_policy(
        **SCALED,
        PolicyName="policy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 100.0, "PredefinedMetricSpecification": metric},
    )
    alarms = alarm_names(daemon)
    assert len(alarms) == 3  # the policy has made two

    kill(before)
    daemon.up(container_command=daemon.container)

    assert call_function(daemon, "live") == 42
    reserved = functions.get_function_concurrency(FunctionName="function")
    assert reserved["ReservedConcurrentExecutions"] == 3
    daemon.wait_for_endpoint()
    daemon.eventually(lambda: endpoint_with(daemon, instances=2))
    answer = daemon.client("sagemaker-runtime").invoke_endpoint(EndpointName="endpoint", Body=b"photo")
    assert json.loads(answer["Body"].read())["bytes"] == 5
    assert alarm_names(daemon) == alarms
    [target] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    [policy] = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert {alarm["AlarmName"] for alarm in policy["Alarms"]} == alarms - {"alarm"}
    # and the alarms are still evaluated
    cloudwatch.put_metric_data(Namespace="project", MetricData=[{"MetricName": "Errors", "Value": 5.0}])
    daemon.up(container_command=daemon.container, speed=60.0)
    daemon.eventually(
        lambda: cloudwatch.describe_alarms(AlarmNames=["alarm"])["MetricAlarms"][0]["StateValue"] == "ALARM"
    )


def alarm_names(daemon: Any) -> set[str]:
    return {alarm["AlarmName"] for alarm in daemon.client("cloudwatch").describe_alarms()["MetricAlarms"]}


def test_nothing_of_one_that_was_killed_stays(daemon: Any) -> None:
    before = daemon.up(container_command=daemon.container)
    role = daemon.create_role()
    daemon.create_function(role)
    assert call_function(daemon) == 42
    daemon.create_endpoint(role, instances=2)
    start_job(daemon, role)
    assert len(daemon.processes()) >= 6  # itself, the reaper, an environment, two instances, a job

    os.kill(before.pid, signal.SIGKILL)
    daemon.eventually(lambda: daemon.processes() == [])

    after = daemon.up(container_command=daemon.container)
    assert after.jobs == ()
    job = daemon.client("sagemaker").describe_training_job(TrainingJobName="job")
    assert job["TrainingJobStatus"] == "Failed"
    assert "local AWS" in job["FailureReason"]


def test_one_that_is_killed_while_it_starts_changes_nothing(daemon: Any) -> None:
    for is_empty in (True, False):
        for seconds in (0.5, 0.9, 1.3):
            command = [sys.executable, "-m", "whippet.local", "--port", str(daemon.port)]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
            time.sleep(seconds)  # any moment of its start
            process.kill()
            process.wait()
        assert daemon.up().notice == ""
        if is_empty:
            daemon.client("s3").create_bucket(Bucket="photos")
            control.down(daemon.port)
    assert [bucket["Name"] for bucket in daemon.client("s3").list_buckets()["Buckets"]] == ["photos"]


def test_no_write_that_was_acknowledged_is_lost(daemon: Any) -> None:
    random = Random(0)
    s3, ssm = daemon.client("s3"), daemon.client("ssm")
    objects: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for turn in range(TURNS):
        status = daemon.up()
        assert status.notice == ""
        if turn == 0:
            s3.create_bucket(Bucket="photos")
        writers = [Writer(s3, ssm, f"{turn}/{number}", objects, parameters) for number in range(WRITERS)]
        wanted = len(objects) + random.randrange(20, 120)
        daemon.eventually(lambda wanted=wanted: len(objects) >= wanted)
        kill(status)
        for writer in writers:
            writer.join()
    assert daemon.up().notice == ""

    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="photos")
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    found = {key: digest(s3.get_object(Bucket="photos", Key=key)["Body"].read()) for key in keys}
    assert objects.items() <= found.items()
    assert len(found) <= len(objects) + TURNS * WRITERS  # those that were on their way
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/", Recursive=True)
    assert parameters.items() <= {one["Name"]: one["Value"] for page in pages for one in page["Parameters"]}.items()


class Writer(threading.Thread):
    """Writes objects and parameters until local AWS is gone, and notes what has been acknowledged."""

    def __init__(self, s3: Any, ssm: Any, prefix: str, objects: dict[str, str], parameters: dict[str, str]) -> None:
        super().__init__()
        self._s3, self._ssm = s3, ssm
        self._prefix, self._objects, self._parameters = prefix, objects, parameters
        self.start()

    def run(self) -> None:
        random = Random(self._prefix)
        for count in itertools.count():
            name, body = f"/{self._prefix}/{count}", random.randbytes(random.randrange(100_000))
            try:
                self._s3.put_object(Bucket="photos", Key=name, Body=body)
                self._objects[name] = digest(body)
                self._ssm.put_parameter(Name=name, Value=digest(body), Type="String")
                self._parameters[name] = digest(body)
            except (BotoCoreError, ClientError):
                return


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_a_state_that_is_not_whole_is_set_aside_and_said_so(daemon: Any) -> None:
    before = daemon.up()
    daemon.client("s3").create_bucket(Bucket="photos")
    control.down(daemon.port)
    database = before.state / "state.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    after = daemon.up()
    assert after.id != before.id
    [aside] = before.state.parent.glob("state-*")
    assert str(aside) in after.notice
    assert "deploy again" in after.notice
    assert daemon.client("s3").list_buckets()["Buckets"] == []


def test_terraform_has_nothing_to_do_after_it(daemon: Any, stack: Stack) -> None:
    stack.run("apply", "-auto-approve")
    kill(running(daemon))
    daemon.up()
    assert stack.changes() == ""
    stack.run("destroy", "-auto-approve")
    assert stack.terraform.resources() == []
