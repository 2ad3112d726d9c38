from __future__ import annotations

import io
import json
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

#: Writes what it sees beside the model.
REPORT = """
import json, os, pathlib, sys
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
inputs = pathlib.Path(os.environ["SM_INPUT_DIR"])
files = {path.relative_to(inputs / "data").as_posix(): path.read_text() for path in (inputs / "data").rglob("*.txt")}
config = {path.stem: json.loads(path.read_text()) for path in (inputs / "config").iterdir()}
seen = {"arguments": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd(), "files": files}
seen["config"] = config
(model / "report.json").write_text(json.dumps(seen))
"""
#: Runs until it is told to end, then saves a model.
PATIENT = """
import os, pathlib, signal, sys, time
def end(*_):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "saved.txt").write_text("in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("waiting", flush=True)
time.sleep(60)
"""


def channel(name: str = "training", uri: str = "s3://project/data/", **more: Any) -> dict[str, Any]:
    """An input channel; S3DataSource's members stand beside the channel's."""
    source = {member: more.pop(member) for member in list(more) if member.startswith("S3")}
    given = {"S3DataType": "S3Prefix", "S3Uri": uri, **source}
    return {"ChannelName": name, "DataSource": {"S3DataSource": given}, **more}


def test_a_script_finds_what_sagemakers_toolkit_promises(jobs: Any) -> None:
    jobs.put({"data/a.txt": "one", "data/deep/b.txt": "two"})
    hyperparameters = {
        "learning-rate": "0.1",
        "name": '"quoted"',
        "plain": "words of no JSON",
        "sagemaker_program": '"train.py"',
        "sagemaker_container_log_level": "10",
        "sagemaker_job_name": '"job"',
        "sagemaker_region": '"us-east-1"',
    }
    described = jobs.run(
        REPORT,
        HyperParameters=hyperparameters,
        InputDataConfig=[channel(ContentType="text/plain")],
        Environment={"COLOUR": "blue"},
    )
    assert described["TrainingJobStatus"] == "Completed"
    seen = jobs.reported()
    environment = seen["environment"]
    root = Path(environment["SM_MODEL_DIR"]).parent
    assert seen["arguments"] == ["--learning-rate", "0.1", "--name", "quoted", "--plain", "words of no JSON"]
    assert seen["files"] == {"training/a.txt": "one", "training/deep/b.txt": "two"}
    assert seen["cwd"] == str(root / "code")
    folders = {
        "SM_INPUT_DIR": "input",
        "SM_INPUT_CONFIG_DIR": "input/config",
        "SM_CHANNEL_TRAINING": "input/data/training",
        "SM_OUTPUT_DIR": "output",
        "SM_OUTPUT_DATA_DIR": "output/data",
    }
    assert {name: environment[name] for name in folders} == {name: str(root / path) for name, path in folders.items()}
    texts = {
        "SM_CHANNELS": '["training"]',
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_HPS": '{"learning-rate":0.1,"name":"quoted","plain":"words of no JSON"}',
        "SM_HP_LEARNING-RATE": "0.1",
        "SM_LOG_LEVEL": "10",
        "SM_MODULE_NAME": "train",
        "SM_MODULE_DIR": "s3://project/code.tar.gz",
        "SM_NUM_GPUS": environment["SM_NUM_GPUS"],
        "SM_USER_ARGS": json.dumps(seen["arguments"], separators=(",", ":")),
        "TRAINING_JOB_NAME": "job",
        "TRAINING_JOB_ARN": described["TrainingJobArn"],
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": jobs.local_aws.settings.url,
        "COLOUR": "blue",
    }
    assert {name: environment[name] for name in texts} == texts
    assert json.loads(environment["SM_TRAINING_ENV"])["channel_input_dirs"] == {
        "training": environment["SM_CHANNEL_TRAINING"]
    }
    expected = {
        "ContentType": "text/plain",
        "RecordWrapperType": "None",
        "S3DistributionType": "FullyReplicated",
        "TrainingInputMode": "File",
    }
    assert seen["config"]["inputdataconfig"] == {"training": expected}
    assert json.loads(environment["SM_INPUT_DATA_CONFIG"]) == {"training": expected}
    assert seen["config"]["hyperparameters"]["learning-rate"] == "0.1"
    assert seen["config"]["resourceconfig"]["hosts"] == ["algo-1"]
    assert json.loads(environment["SM_RESOURCE_CONFIG"]) == seen["config"]["resourceconfig"]


def test_a_program_has_the_permissions_of_the_jobs_role_and_no_more(jobs: Any) -> None:
    source = """
import boto3, botocore.exceptions, os
s3 = boto3.client("s3")
s3.put_object(Bucket="project", Key="mine", Body=b"by the program")
try:
    boto3.client("sagemaker").list_models()
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
print(sorted(name for name in os.environ if "SECRET" in name))
"""
    assert jobs.run(source)["TrainingJobStatus"] == "Completed"
    assert jobs.keys("mine") == ["mine"]
    assert jobs.logged() == ["AccessDeniedException", "['AWS_SECRET_ACCESS_KEY']"]


def test_a_jobs_credentials_end_with_it(jobs: Any) -> None:
    jobs.run(REPORT)
    environment = jobs.reported()["environment"]
    credentials = {
        "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": environment["AWS_SESSION_TOKEN"],
    }
    with pytest.raises(ClientError, match=r"InvalidClientTokenId|UnrecognizedClient|ExpiredToken"):
        jobs.local_aws.client("sts", credentials).get_caller_identity()


def test_a_job_without_a_network_has_no_credentials(jobs: Any) -> None:
    jobs.upload_program("import os; print([name for name in os.environ if 'SECRET' in name])", archive="local/code")
    isolated = {"EnableNetworkIsolation": True, "InputDataConfig": [channel("code", "s3://project/local/")]}
    source = {"sagemaker_submit_directory": "/opt/ml/input/data/code/code.tar.gz"}
    assert jobs.run("", HyperParameters=source, **isolated)["TrainingJobStatus"] == "Completed"
    assert jobs.logged() == ["[]"]
    described = jobs.run("", TrainingJobName="remote", **isolated)
    assert "Unable to locate credentials" in described["FailureReason"]


def test_a_job_is_described_as_it_was_asked_for_with_all_that_happened_to_it(jobs: Any) -> None:
    jobs.put({"data/a.txt": "one"})
    options: dict[str, Any] = {
        "InputDataConfig": [channel()],
        "ProfilerConfig": {"DisableProfiler": True},
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "Environment": {"COLOUR": "blue"},
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    }
    request = jobs.request(REPORT, **options)
    arn = jobs.sagemaker.create_training_job(**request, Tags=[{"Key": "team", "Value": "dogs"}])["TrainingJobArn"]
    first = jobs.sagemaker.describe_training_job(TrainingJobName="job")
    assert first["TrainingJobStatus"] == "InProgress"
    described = jobs.ended()
    assert {member: described[member] for member in request} == request
    assert described["TrainingJobArn"] == arn == "arn:aws:sagemaker:us-east-1:123456789012:training-job/job"
    assert described["ModelArtifacts"] == {"S3ModelArtifacts": "s3://project/models/job/output/model.tar.gz"}
    transitions = described["SecondaryStatusTransitions"]
    statuses = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [one["Status"] for one in transitions] == statuses
    assert all(one["StartTime"] <= one["EndTime"] and one["StatusMessage"] for one in transitions)
    assert described["SecondaryStatus"] == "Completed"
    times = ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime")
    assert sorted(described[name] for name in times) == [described[name] for name in times]
    assert described["TrainingTimeInSeconds"] == described["BillableTimeInSeconds"] >= 1
    assert jobs.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "dogs"}]


def test_model_and_output_are_packed_and_stored_as_the_role(jobs: Any) -> None:
    source = """
import os, pathlib
model, output = (pathlib.Path(os.environ[name]) for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"))
(model / "deep").mkdir()
(model / "deep" / "weights").write_text("weights")
(model / "link").symlink_to("/etc/passwd")
(output / "report.txt").write_text("report")
"""
    described = jobs.run(source)
    assert jobs.keys() == ["models/job/output/model.tar.gz", "models/job/output/output.tar.gz"]
    assert described["ModelArtifacts"]["S3ModelArtifacts"] == "s3://project/models/job/output/model.tar.gz"
    assert jobs.archived("models/job/output/model.tar.gz") == {"deep/weights": b"weights"}
    assert jobs.archived("models/job/output/output.tar.gz") == {"report.txt": b"report"}
    jobs.run(source, TrainingJobName="plain", OutputDataConfig={"CompressionType": "NONE"})
    assert jobs.keys("models/plain") == [
        "models/plain/output/model/deep/weights",
        "models/plain/output/output/report.txt",
    ]


def test_a_role_that_may_not_write_the_output_fails_the_job(jobs: Any) -> None:
    described = jobs.run(REPORT, OutputDataConfig={"S3OutputPath": "s3://elsewhere/models"})
    assert described["TrainingJobStatus"] == "Failed"
    assert described["FailureReason"] == "ClientError: Artifact upload failed:AccessDenied (403): Access Denied"


def test_a_program_says_why_it_failed(jobs: Any) -> None:
    source = """
import os, pathlib
pathlib.Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("the photos are blurred " * 100)
raise SystemExit(3)
"""
    described = jobs.run(source)
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Failed", "Failed")
    reason = described["FailureReason"]
    assert reason.startswith("AlgorithmError: the photos are blurred")
    assert reason.endswith(", exit code: 3")
    assert len(reason) == 1024
    assert jobs.keys() == []


def test_of_a_program_that_says_nothing_the_log_tells_why_it_failed(jobs: Any) -> None:
    reason = jobs.run("raise ValueError('no photos')")["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage ")
    assert "ValueError: no photos" in reason
    reason = jobs.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", TrainingJobName="killed")
    assert reason["FailureReason"].endswith(", exit code: 137")


def test_code_that_is_not_there_fails_the_job_as_the_toolkit_would(jobs: Any) -> None:
    missing = {"sagemaker_submit_directory": "s3://project/nothing.tar.gz"}
    reason = jobs.run("", HyperParameters=missing)["FailureReason"]
    assert reason.startswith("AlgorithmError: framework error: ")
    assert "NoSuchKey (404)" in reason


def test_archives_do_not_reach_out_of_the_jobs_folder(jobs: Any, tmp_path: Path) -> None:
    target = tmp_path / "reached"
    archive = jobs.upload_program("pwned", name=f"../../../../../../../../..{target}", archive="evil")
    reason = jobs.run("", HyperParameters={"sagemaker_submit_directory": archive})["FailureReason"]
    assert "OutsideDestinationError" in reason
    assert not target.exists()


@pytest.mark.parametrize("way", ["{outside}", "/opt/ml/../..{outside}"])
def test_code_lies_in_s3_or_on_the_instance(jobs: Any, tmp_path: Path, way: str) -> None:
    (tmp_path / "train.py").write_text("print('which no instance has')")
    source = {"sagemaker_submit_directory": way.format(outside=tmp_path)}
    described = jobs.run("", HyperParameters=source)
    assert described["FailureReason"].startswith("AlgorithmError: framework error: \nFileNotFoundError: ")
    assert jobs.logged() == []


def test_an_archive_that_holds_more_than_the_instance_is_not_unpacked(jobs: Any) -> None:
    member = tarfile.TarInfo("train.py")
    member.size = (1 << 30) + 1
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        packed.addfile(member)
    jobs.put({"bomb.tar.gz": archive.getvalue()})
    source = {"sagemaker_submit_directory": "s3://project/bomb.tar.gz"}
    described = jobs.run("", HyperParameters=source, ResourceConfig={"VolumeSizeInGB": 1})
    assert "No space left on device" in described["FailureReason"]


def test_a_job_has_no_more_instances_than_its_quota(jobs: Any) -> None:
    with pytest.raises(ClientError, match=r"is 20 Instances, with .* a request delta of 21 Instances") as refused:
        jobs.start("", ResourceConfig={"InstanceCount": 21})
    assert refused.value.response["Error"]["Code"] == "ResourceLimitExceeded"


def test_stopping_a_job_lets_its_program_save_a_model(jobs: Any) -> None:
    jobs.start(PATIENT)
    jobs.in_training(line="waiting")
    jobs.sagemaker.stop_training_job(TrainingJobName="job")
    described = jobs.ended()
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Stopped", "Stopped")
    statuses = [one["Status"] for one in described["SecondaryStatusTransitions"]]
    assert statuses[-3:] == ["Stopping", "Uploading", "Stopped"]
    assert jobs.archived("models/job/output/model.tar.gz") == {"saved.txt": b"in time"}
    with pytest.raises(ClientError, match="The request was rejected because the training job is in status Stopped"):
        jobs.sagemaker.stop_training_job(TrainingJobName="job")


def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(jobs: Any) -> None:
    source = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
print(f"pids {os.getpid()} {child.pid}", flush=True)
time.sleep(60)
"""
    jobs.start(source)
    said = jobs.local_aws.eventually(lambda: [line for line in jobs.logged() if line.startswith("pids ")])
    jobs.sagemaker.stop_training_job(TrainingJobName="job")
    assert jobs.ended()["TrainingJobStatus"] == "Stopped"
    for pid in map(int, said[0].split()[1:]):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_job_that_runs_too_long_is_stopped(jobs: Any) -> None:
    described = jobs.run(PATIENT, StoppingCondition={"MaxRuntimeInSeconds": 3})
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert jobs.archived("models/job/output/model.tar.gz") == {"saved.txt": b"in time"}


def test_metrics_are_read_from_the_log_and_published(jobs: Any) -> None:
    definitions = [
        {"Name": "valid:loss", "Regex": r"loss=([0-9.]+)"},
        {"Name": "valid:top1", "Regex": r"top-1 +([0-9.]+)%"},
        {"Name": "absent", "Regex": r"absent=(\d+)"},
    ]
    source = "print('loss=0.5 top-1  80%')\nprint('loss=0.25 top-1 90%')\nprint('loss=...')"
    algorithm = {"TrainingImage": "image", "TrainingInputMode": "File", "MetricDefinitions": definitions}
    described = jobs.run(source, AlgorithmSpecification=algorithm)
    final = {one["MetricName"]: one["Value"] for one in described["FinalMetricDataList"]}
    assert final == {"valid:loss": 0.25, "valid:top1": 90.0}
    listed = jobs.local_aws.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="valid:loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "job"}],
        StartTime=described["CreationTime"] - timedelta(minutes=2),
        EndTime=described["TrainingEndTime"] + timedelta(minutes=2),
        Period=60,
        Statistics=["Sum", "SampleCount"],
    )
    assert sum(point["Sum"] for point in listed["Datapoints"]) == 0.75
    assert sum(point["SampleCount"] for point in listed["Datapoints"]) == 2


def test_logs_lie_in_a_stream_of_the_instance(jobs: Any) -> None:
    jobs.run("print('hello')")
    streams = jobs.local_aws.client("logs").describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")
    (stream,) = streams["logStreams"]
    assert stream["logStreamName"].startswith("job/algo-1-")
    assert jobs.logged() == ["hello"]


def test_logs_are_dated_by_the_clock(jobs: Any, fast_clock: Any) -> None:
    described = jobs.run("print('hello')")
    logs = jobs.local_aws.client("logs")
    (event,) = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    from_start_to_end = [described[name].timestamp() * 1000 for name in ("TrainingStartTime", "TrainingEndTime")]
    assert sorted([*from_start_to_end, event["timestamp"]])[1] == event["timestamp"]


def test_an_entry_point_of_its_own_replaces_the_images(jobs: Any) -> None:
    script = """#!/bin/bash
set -e
test -f /opt/ml/input/config/resourceconfig.json
cat /opt/ml/input/data/code/words.txt "$1" > /opt/ml/model/words.txt
python3 -c 'import sys; print(sys.prefix)'
"""
    jobs.put({"drivers/sm_train.sh": script, "code/words.txt": "read ", "data/a.txt": "and written"})
    algorithm = {
        "TrainingImage": "image",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["/bin/bash"],
        "ContainerArguments": [
            "-c",
            "bash /opt/ml/input/data/sm_drivers/sm_train.sh /opt/ml/input/data/training/a.txt",
        ],
    }
    channels = [
        channel("sm_drivers", "s3://project/drivers/"),
        channel("code", "s3://project/code/"),
        channel(),
    ]
    described = jobs.run("", AlgorithmSpecification=algorithm, InputDataConfig=channels, HyperParameters={})
    assert described["TrainingJobStatus"] == "Completed", described["FailureReason"]
    assert jobs.archived("models/job/output/model.tar.gz") == {"words.txt": b"read and written"}
    stored = jobs.s3.get_object(Bucket="project", Key="drivers/sm_train.sh")["Body"].read()
    assert stored == script.encode()


def test_an_entry_point_that_fails_is_known_by_its_exit_code(jobs: Any) -> None:
    algorithm = {"TrainingImage": "image", "TrainingInputMode": "File", "ContainerEntrypoint": ["false"]}
    assert jobs.run("", AlgorithmSpecification=algorithm)["FailureReason"] == "AlgorithmError: , exit code: 1"
    algorithm["ContainerEntrypoint"] = ["no-such-command"]
    described = jobs.run("", TrainingJobName="missing", AlgorithmSpecification=algorithm)
    assert described["FailureReason"].endswith("no-such-command, exit code: 127")


def test_what_a_job_caches_the_next_one_finds(jobs: Any) -> None:
    source = """
import os, pathlib
cache = pathlib.Path(os.environ["XDG_CACHE_HOME"], "features")
print("found" if cache.exists() else "computed")
cache.write_text("features")
"""
    jobs.run(source)
    jobs.run(source, TrainingJobName="next")
    assert (jobs.logged("job"), jobs.logged("next")) == (["computed"], ["found"])


def test_checkpoints_are_kept_while_a_job_runs_and_given_to_the_next(jobs: Any) -> None:
    source = """
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["SM_MODEL_DIR"]).parent / "checkpoints"
before = sorted(path.name for path in folder.iterdir())
(folder / f"epoch-{len(before)}").write_text("weights")
print(before, flush=True)
if not before:
    time.sleep(60)
"""
    checkpoints = {"S3Uri": "s3://project/checkpoints"}
    jobs.start(source, CheckpointConfig=checkpoints)
    jobs.local_aws.eventually(lambda: jobs.keys("checkpoints/") == ["checkpoints/epoch-0"])
    jobs.sagemaker.stop_training_job(TrainingJobName="job")
    jobs.ended()
    assert jobs.run(source, TrainingJobName="next", CheckpointConfig=checkpoints)["TrainingJobStatus"] == "Completed"
    assert jobs.logged("next") == ["['epoch-0']"]
    assert jobs.keys("checkpoints/") == ["checkpoints/epoch-0", "checkpoints/epoch-1"]


def test_instances_work_together_through_torch_distributed(jobs: Any) -> None:
    source = """
import json, os, pathlib, torch, torch.distributed as dist
os.environ["GLOO_SOCKET_IFNAME"] = os.environ["SM_NETWORK_INTERFACE_NAME"]
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
seen = {"total": total.item(), "world": dist.get_world_size(), "hosts": os.environ["SM_HOSTS"]}
pathlib.Path(os.environ["SM_MODEL_DIR"], os.environ["SM_CURRENT_HOST"] + ".json").write_text(json.dumps(seen))
"""
    described = jobs.run(
        source,
        ResourceConfig={"InstanceCount": 2},
        HyperParameters={"sagemaker_torch_distributed_enabled": "true"},
    )
    assert described["TrainingJobStatus"] == "Completed", described.get("FailureReason")
    seen = {"total": 3.0, "world": 2, "hosts": '["algo-1","algo-2"]'}
    archived = jobs.archived("models/job/output/model.tar.gz")
    assert {name: json.loads(content) for name, content in archived.items()} == {
        "algo-1.json": seen,
        "algo-2.json": seen,
    }


def test_one_instance_that_fails_ends_the_others(jobs: Any) -> None:
    source = """
import os, time
if os.environ["SM_CURRENT_HOST"] == "algo-2":
    raise SystemExit("the second has failed")
time.sleep(60)
"""
    described = jobs.run(source, ResourceConfig={"InstanceCount": 2})
    assert described["TrainingJobStatus"] == "Failed"
    assert "the second has failed" in described["FailureReason"]
    assert jobs.local_aws.gateway.status()["jobs"] == []


def test_only_the_last_instances_end_completes_a_job(jobs: Any) -> None:
    source = """
import os, pathlib, time
time.sleep(0.5 if os.environ["SM_CURRENT_HOST"] == "algo-2" else 0)
pathlib.Path(os.environ["SM_MODEL_DIR"], os.environ["SM_CURRENT_HOST"]).write_text("done")
"""
    jobs.run(source, ResourceConfig={"InstanceCount": 2})
    assert sorted(jobs.archived("models/job/output/model.tar.gz")) == ["algo-1", "algo-2"]


def test_jobs_are_listed_by_name_time_and_status(jobs: Any) -> None:
    for name in ("beta", "alpha", "other"):
        jobs.run("" if name != "other" else "raise SystemExit(1)", TrainingJobName=name)
    sagemaker = jobs.sagemaker

    def names(**options: Any) -> list[str]:
        return [one["TrainingJobName"] for one in sagemaker.list_training_jobs(**options)["TrainingJobSummaries"]]

    assert names() == ["beta", "alpha", "other"]
    assert names(SortBy="Name") == ["alpha", "beta", "other"]
    assert names(SortBy="Name", SortOrder="Descending") == ["other", "beta", "alpha"]
    assert names(StatusEquals="Failed") == ["other"]
    assert names(NameContains="a") == ["beta", "alpha"]
    created = sagemaker.describe_training_job(TrainingJobName="alpha")["CreationTime"]
    assert names(CreationTimeAfter=created) == ["other"]
    assert names(CreationTimeBefore=created) == ["beta"]
    first = sagemaker.list_training_jobs(MaxResults=2)
    assert [one["TrainingJobName"] for one in first["TrainingJobSummaries"]] == ["beta", "alpha"]
    assert names(MaxResults=2, NextToken=first["NextToken"]) == ["other"]
    found = sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={"Filters": [{"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "Failed"}]},
    )
    assert [one["TrainingJob"]["TrainingJobName"] for one in found["Results"]] == ["other"]


def test_a_job_that_has_ended_can_be_deleted_and_its_name_used_again(jobs: Any) -> None:
    jobs.start(PATIENT)
    sagemaker = jobs.sagemaker
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.delete_training_job(TrainingJobName="job")
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="a job with this name already exists"):
        jobs.start(PATIENT)
    sagemaker.stop_training_job(TrainingJobName="job")
    jobs.ended()
    sagemaker.delete_training_job(TrainingJobName="job")
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="job")
    assert jobs.run(REPORT)["TrainingJobStatus"] == "Completed"


def test_an_update_is_recorded(jobs: Any) -> None:
    jobs.run("")
    jobs.sagemaker.update_training_job(TrainingJobName="job", ResourceConfig={"KeepAlivePeriodInSeconds": 60})
    described = jobs.sagemaker.describe_training_job(TrainingJobName="job")
    assert described["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 60
    assert described["ResourceConfig"]["InstanceType"] == "ml.c5.xlarge"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"HyperParameters": {"sagemaker_program": ""}}, "Local AWS runs no images"),
        ({"HyperParameters": {"sagemaker_program": "../train.py"}}, "must be in its archive: ../train.py is not"),
        ({"HyperParameters": {"sagemaker_program": "/bin/true"}}, "must be in its archive: /bin/true is not"),
        ({"TrainingJobName": "under_score"}, "at 'trainingJobName' failed to satisfy constraint"),
        ({"ResourceConfig": {"InstanceType": "ml.none"}}, "Member must satisfy enum value set"),
        ({"InputDataConfig": [channel(InputMode="Pipe")]}, "does not support Pipe mode"),
        ({"InputDataConfig": [channel(S3DataType="AugmentedManifestFile")]}, "AugmentedManifestFile"),
        ({"InputDataConfig": [channel(".."), channel()]}, "Channel name .. is not supported"),
        ({"InputDataConfig": [channel(), channel()]}, "Channel names must be unique"),
        ({"InputDataConfig": [channel(uri="s3://project/nothing/")]}, "No S3 objects found under S3 URL"),
        ({"CheckpointConfig": {"S3Uri": "s3://project/c", "LocalPath": "/etc"}}, "below /opt/ml alone"),
        (
            {"AlgorithmSpecification": {"MetricDefinitions": [{"Name": "loss", "Regex": "("}]}},
            "Regex '\\(' of metric 'loss' is invalid",
        ),
    ],
)
def test_what_cannot_run_is_refused_at_once(jobs: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as refused:
        jobs.start("", **changes)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert jobs.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_nothing_is_left_of_a_job_but_its_records(jobs: Any) -> None:
    jobs.run(REPORT)
    work = jobs.local_aws.settings.work
    jobs.local_aws.eventually(lambda: list((work / "jobs").iterdir()) == [])
    jobs.start(PATIENT, TrainingJobName="running")
    jobs.in_training("running", line="waiting")
    (running,) = jobs.local_aws.gateway.status()["jobs"]
    jobs.local_aws.gateway.reset()
    assert not any(psutil.pid_exists(pid) for pid in running["pids"])
    assert jobs.local_aws.gateway.status()["jobs"] == []
    assert not (work / "jobs").exists()


def test_what_ran_when_local_aws_ended_has_failed(jobs: Any) -> None:
    jobs.start(PATIENT)
    jobs.in_training(line="waiting")
    service = jobs.local_aws.gateway._jobs
    service.stop()
    left = Path(tempfile.mkdtemp(prefix=f"whippet-{jobs.local_aws.settings.port}-job-"))
    service.resume()
    described = jobs.ended()
    assert described["TrainingJobStatus"] == "Failed"
    assert described["FailureReason"] == "InternalServerError: local AWS ended while the job ran."
    assert not left.exists()
