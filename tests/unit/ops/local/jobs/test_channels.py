from __future__ import annotations

import json
from typing import Any

import pytest

#: Prints the files of the channel, an instance's in one line.
LIST = """
import json, os, pathlib
folder = pathlib.Path(os.environ["SM_CHANNEL_TRAINING"])
files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
print(json.dumps(files, sort_keys=True))
"""


def channel(uri: str, **source: Any) -> dict[str, Any]:
    given = {"S3DataType": "S3Prefix", "S3Uri": uri, **source}
    return {"ChannelName": "training", "DataSource": {"S3DataSource": given}}


def files(jobs: Any, uri: str, **source: Any) -> Any:
    """What a job finds in its channel."""
    described = jobs.run(LIST, InputDataConfig=[channel(uri, **source)])
    assert described["TrainingJobStatus"] == "Completed", described["FailureReason"]
    return json.loads(jobs.logged()[0])


@pytest.mark.parametrize("prefix", ["data", "data/"])
def test_a_prefix_is_a_folder(jobs: Any, prefix: str) -> None:
    jobs.put({"data/a": "1", "data/deep/b": "2", "data/empty/": "", "other/c": "3"})
    assert files(jobs, f"s3://project/{prefix}") == {"a": "1", "deep/b": "2"}


def test_a_prefix_may_be_the_beginning_of_names(jobs: Any) -> None:
    jobs.put({"data/train-1": "1", "data/train-2/b": "2", "data/test": "3"})
    assert files(jobs, "s3://project/data/train") == {"train-1": "1", "train-2/b": "2"}


def test_a_prefix_may_be_an_object(jobs: Any) -> None:
    jobs.put({"data/train.csv": "1"})
    assert files(jobs, "s3://project/data/train.csv") == {"train.csv": "1"}


def test_a_manifest_names_the_objects(jobs: Any) -> None:
    manifest = [{"prefix": "s3://project/data/"}, "a", "deep/b"]
    jobs.put({"data/a": "1", "data/deep/b": "2", "data/c": "3", "photos.manifest": json.dumps(manifest)})
    assert files(jobs, "s3://project/photos.manifest", S3DataType="ManifestFile") == {"a": "1", "deep/b": "2"}


def test_a_manifest_that_is_none_fails_the_request(jobs: Any) -> None:
    jobs.put({"photos.manifest": "{}"})
    with pytest.raises(Exception, match=r"photos\.manifest is not valid"):
        jobs.start(LIST, InputDataConfig=[channel("s3://project/photos.manifest", S3DataType="ManifestFile")])


def test_instances_share_the_objects_of_a_sharded_channel(jobs: Any) -> None:
    jobs.put({f"data/{number}": str(number) for number in range(5)})
    inputs = [channel("s3://project/data/", S3DataDistributionType="ShardedByS3Key")]
    jobs.run(LIST, InputDataConfig=inputs, ResourceConfig={"InstanceCount": 2})
    seen = sorted(sorted(json.loads(line)) for line in jobs.logged())
    assert seen == [["0", "2", "4"], ["1", "3"]]


def test_a_changed_object_reaches_the_next_job(jobs: Any) -> None:
    jobs.put({"data/a": "1"})
    assert files(jobs, "s3://project/data/") == {"a": "1"}
    jobs.put({"data/a": "2"})
    described = jobs.run(LIST, TrainingJobName="next", InputDataConfig=[channel("s3://project/data/")])
    assert described["TrainingJobStatus"] == "Completed"
    assert json.loads(jobs.logged("next")[0]) == {"a": "2"}


def test_a_program_that_writes_to_its_input_spoils_nobody_elses(jobs: Any) -> None:
    jobs.put({"data/a": "1"})
    spoil = """
import os, pathlib
path = pathlib.Path(os.environ["SM_CHANNEL_TRAINING"], "a")
path.chmod(0o644)
path.write_text("spoiled")
"""
    jobs.run(spoil, TrainingJobName="spoiler", InputDataConfig=[channel("s3://project/data/")])
    assert files(jobs, "s3://project/data/") == {"a": "1"}


@pytest.mark.parametrize("key", ["data/../../../../outside", "data/a/b"])
def test_a_key_that_cannot_be_a_file_fails_the_job(jobs: Any, key: str) -> None:
    jobs.put({"data/a": "1", key: "2"})
    described = jobs.run(LIST, InputDataConfig=[channel("s3://project/data/")])
    assert described["TrainingJobStatus"] == "Failed"
    assert described["FailureReason"].startswith("ClientError: Data download failed:Failed to download data. Cannot ")


def test_objects_that_the_role_may_not_read_fail_the_job(jobs: Any) -> None:
    jobs.put({"data/a": "1", "secret/b": "2"})
    jobs.local_aws.client("iam").put_role_policy(
        RoleName="training",
        PolicyName="no-secrets",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::project/secret/*"}
                ],
            }
        ),
    )
    described = jobs.run(LIST, InputDataConfig=[channel("s3://project/secret/")])
    assert described["FailureReason"] == "ClientError: Data download failed:AccessDenied (403): Access Denied"


def test_a_prefix_that_the_role_may_not_list_is_refused(jobs: Any) -> None:
    jobs.s3.create_bucket(Bucket="elsewhere")
    jobs.s3.put_object(Bucket="elsewhere", Key="data/a", Body=b"1")
    with pytest.raises(Exception, match='has "s3:ListBucket" permissions on bucket "elsewhere"'):
        jobs.start(LIST, InputDataConfig=[channel("s3://elsewhere/data/")])


def test_a_buckets_policy_lets_jobs_in_and_keeps_them_out(jobs: Any) -> None:
    jobs.s3.create_bucket(Bucket="elsewhere")
    jobs.s3.put_object(Bucket="elsewhere", Key="data/a", Body=b"1")
    resources = ["arn:aws:s3:::elsewhere", "arn:aws:s3:::elsewhere/*"]
    statement = {"Principal": {"AWS": jobs.role}, "Action": "s3:*", "Resource": resources}
    from_plain_http = {"Bool": {"aws:SecureTransport": "false"}}
    statements = [
        {"Effect": "Allow", **statement},
        {"Effect": "Deny", **statement, "Principal": "*", "Condition": from_plain_http},
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    jobs.s3.put_bucket_policy(Bucket="elsewhere", Policy=json.dumps(document))
    assert jobs.run(LIST, InputDataConfig=[channel("s3://elsewhere/data/")])["TrainingJobStatus"] == "Completed"
    statements.append({"Effect": "Deny", **statement, "Action": "s3:GetObject"})
    jobs.s3.put_bucket_policy(Bucket="elsewhere", Policy=json.dumps(document))
    described = jobs.run(LIST, TrainingJobName="denied", InputDataConfig=[channel("s3://elsewhere/data/")])
    assert described["FailureReason"] == "ClientError: Data download failed:AccessDenied (403): Access Denied"
