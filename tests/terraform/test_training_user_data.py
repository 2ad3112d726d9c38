"""The training instance's start script, run for real as EC2 would hand it over, against an AWS in this process.

A temporary folder stands for the machine's disk, a small server for its metadata; `shutdown` and what installs packages
are stubs that keep record. S3, SSM, CloudWatch Logs and the Auto Scaling group are there, and the aws command is real.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from whippet.terraform import Terraform

REPOSITORY = Path(__file__).parents[2]

BUCKET = "training-test"
GROUP = "whippet-test-training"
LOG_GROUP = "/whippet-test/training"
PARAMETER = "/whippet-test/model-s3-uri"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

#: Stands for whippet_training.train: computes a feature, and then does what a photo's name says.
TRAIN = """\
import json, os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
photos = sorted(path.name for path in pathlib.Path(os.environ["SM_CHANNEL_TRAINING"]).rglob("*.jpg"))
cached = pathlib.Path(os.environ["WHIPPET_CACHE"], "one.features")
resumed = cached.exists()
cached.write_text("features")
print("training on", photos, "resumed" if resumed else "from the start", flush=True)
if "fail.jpg" in photos:
    sys.exit(3)
if "kill.jpg" in photos and not resumed:
    os.kill(os.getpid(), signal.SIGTERM)
if "hopeless.jpg" in photos:
    os.kill(os.getpid(), signal.SIGTERM)
if "interrupt.jpg" in photos and not resumed:
    pathlib.Path(os.environ["WHIPPET_ROOT"], "is-training").touch()
    time.sleep(60)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps({"flags": sys.argv[1:], "photos": photos}))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "metrics.json").write_text("{}")
"""

MODULE = """\
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}

module "training" {
  source = "%(source)s"

  name                        = "whippet-test"
  ami_id                      = "%(ami)s"
  bucket                      = "%(bucket)s"
  training_package_s3_uri     = "%(package)s"
  hyperparameters             = { seed = "7", backbone = "tf_efficientnet_lite0" }
  checkpoint_interval_seconds = 1
  time_limit_minutes          = 45
  spot                        = {}
}
"""

#: A Python that has PyTorch, or not, and installs nothing.
PYTHON = """\
#!/bin/bash
case "$*" in
  "-c import torch") exit %(torch)d ;;
  "-m pip "*) echo "${@:3}" >>"$WHIPPET_ROOT/installed" ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *) exec %(python)s "$@" ;;
esac
"""


def package() -> bytes:
    """The same bytes each time: its key names their hash."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {
            "requirements.txt": "timm==1.0.11\n",
            "whippet_training/__init__.py": "",
            "whippet_training/train.py": TRAIN,
        }.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of 1980: a text's own entry would have the time of day
    return content.getvalue()


@dataclass
class Metadata:
    """What the instance's metadata says."""

    instance: str = ""
    interrupted: bool = False
    url: str = ""


@pytest.fixture(scope="module")
def metadata() -> Iterator[Metadata]:
    """The metadata service, version 2 only.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    """
    state = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.reply("token" if self.path == "/latest/api/token" else None)

        def do_GET(self) -> None:
            allowed = self.headers["X-aws-ec2-metadata-token"] == "token"
            notice = '{"action": "terminate", "time": "2026-11-23T04:00:00Z"}' if state.interrupted else None
            answers = {"instance-id": state.instance, "spot/instance-action": notice}
            self.reply(answers.get(self.path.removeprefix("/latest/meta-data/")) if allowed else None)

        def reply(self, text: str | None) -> None:
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()


@pytest.fixture(scope="module")
def client(aws_url: str) -> Callable[[str], Any]:
    return partial(
        boto3.client,
        endpoint_url=aws_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="module")
def user_data(
    configuration: Path, aws_url: str, ami: str, client: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The module applied, and the script that EC2 would hand to the instance."""
    key = f"training/{hashlib.sha256(package()).hexdigest()[:16]}/training.zip"
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=package())
    folder = tmp_path_factory.mktemp("training")
    settings = {
        "source": os.path.relpath(configuration / "modules/training_instance", folder),
        "ami": ami,
        "bucket": BUCKET,
        "package": f"s3://{BUCKET}/{key}",
    }
    (folder / "main.tf").write_text(MODULE % settings)
    terraform = Terraform(folder, env={**os.environ, "AWS_ENDPOINT_URL": aws_url})
    terraform.init()
    terraform.run("apply", "-auto-approve", "-input=false", "-no-color")
    versions = client("ec2").describe_launch_template_versions(LaunchTemplateName=GROUP)
    return base64.b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()


class Machine:
    """An instance of the group, with a folder for a disk."""

    def __init__(
        self, folder: Path, user_data: str, aws_url: str, metadata: Metadata, client: Callable[[str], Any]
    ) -> None:
        self.folder, self.metadata, self.client = folder, metadata, client
        self.script = folder / "user_data.sh"
        self.script.write_text(user_data)
        self.env = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": aws_url,
            "HOME": str(folder),
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "WHIPPET_IMDS": metadata.url,
            "WHIPPET_ROOT": str(folder / "disk"),
        }
        self.add("bin/shutdown", '#!/bin/bash\necho "$*" >>"$WHIPPET_ROOT/shutdown"\n')
        self.add("bin/dnf", '#!/bin/bash\necho "dnf $*" >>"$WHIPPET_ROOT/installed"\n')
        self.add("bin/python3", PYTHON % {"torch": 1, "python": sys.executable})
        self.add("bin/python3.12", PYTHON % {"torch": 1, "python": sys.executable})
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.launch()

    def add(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def launch(self) -> None:
        """The group starts an instance."""
        self.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
        self.metadata.instance = self.group()["Instances"][0]["InstanceId"]
        self.metadata.interrupted = False

    def replace(self) -> None:
        """Another instance, with an empty disk, after this one was taken away."""
        shutil.rmtree(self.disk)
        self.disk.mkdir()
        self.metadata.interrupted = False

    def group(self) -> dict[str, Any]:
        (group,) = self.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        return dict(group)

    def upload(self, *photos: str) -> None:
        for photo in photos:
            self.client("s3").put_object(Bucket=BUCKET, Key=f"data/train/beagle/{photo}", Body=b"photo")

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The script at work, which ends with the block."""
        process = subprocess.Popen(["bash", self.script], env=self.env, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self) -> int:
        with self.started() as process:
            return process.wait(300)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Content by key below the prefix."""
        s3 = self.client("s3")
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {
            one["Key"].removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
            for one in listed
        }

    def model(self) -> str:
        return str(self.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"])

    def log(self) -> list[str]:
        """What CloudWatch has of all runs."""
        return [event["message"] for event in self.client("logs").filter_log_events(logGroupName=LOG_GROUP)["events"]]

    def shutdowns(self) -> list[str]:
        return (self.disk / "shutdown").read_text().splitlines()


@pytest.fixture
def machine(
    tmp_path: Path, user_data: str, aws_url: str, metadata: Metadata, client: Callable[[str], Any]
) -> Iterator[Machine]:
    yield Machine(tmp_path, user_data, aws_url, metadata, client)
    s3, logs = client("s3"), client("logs")
    for prefix in ("data/", "runs/", "checkpoints/"):
        for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    for stream in logs.describe_log_streams(logGroupName=LOG_GROUP)["logStreams"]:
        logs.delete_log_stream(logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"])
    client("ssm").put_parameter(Name=PARAMETER, Value="none", Overwrite=True)


def test_it_trains_publishes_the_model_and_leaves_the_group(machine: Machine) -> None:
    """On an image with PyTorch, which is left as it is."""
    machine.add("disk/opt/pytorch/bin/python", PYTHON % {"torch": 0, "python": sys.executable})
    machine.upload("one.jpg", "two.jpg")
    assert machine.model() == "none"

    assert machine.run() == 0, machine.log()

    uri = machine.model()
    run = uri.removeprefix(f"s3://{BUCKET}/").removesuffix("model.tar.gz")
    content = machine.objects(run)
    assert set(content) == {"model.tar.gz", "output/metrics.json", "training.log"}
    with tarfile.open(fileobj=io.BytesIO(content["model.tar.gz"])) as archive:
        assert archive.getnames() == ["model.json"]
        model = json.load(archive.extractfile("model.json"))  # type: ignore[arg-type]
    assert model == {"flags": ["--backbone=tf_efficientnet_lite0", "--seed=7"], "photos": ["one.jpg", "two.jpg"]}
    assert (machine.disk / "installed").read_text().splitlines() == [
        "install --quiet --no-input --disable-pip-version-check --requirement requirements.txt"
    ]
    assert machine.shutdowns() == ["-P +45", "-P now"]
    assert (machine.group()["DesiredCapacity"], machine.group()["Instances"]) == (0, [])
    log = machine.log()
    assert "training on ['one.jpg', 'two.jpg'] from the start" in log
    assert log[-1].endswith("exit code 0")
    assert content["training.log"].decode().splitlines() == log


def test_it_installs_pytorch_where_the_image_has_none(machine: Machine) -> None:
    machine.upload("one.jpg")

    assert machine.run() == 0, machine.log()

    assert (machine.disk / "installed").read_text().splitlines() == [
        "dnf install --quiet --assumeyes python3.12",
        "install --quiet --no-input --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 "
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "install --quiet --no-input --disable-pip-version-check --requirement requirements.txt",
    ]
    assert machine.model() != "none"


def test_a_failed_run_leaves_its_log_and_no_model(machine: Machine) -> None:
    machine.upload("fail.jpg")

    assert machine.run() == 3

    assert [key.rpartition("/")[2] for key in machine.objects("runs/")] == ["training.log"]
    assert machine.model() == "none"
    assert "training on ['fail.jpg'] from the start" in machine.log()
    assert machine.shutdowns() == ["-P +45", "-P now"]
    assert machine.group()["DesiredCapacity"] == 0


def test_without_photos_it_says_how_to_upload_them_and_ends(machine: Machine) -> None:
    assert machine.run() == 1

    assert any("aws s3 sync DIR s3://training-test/data/" in line for line in machine.log())
    assert machine.group()["DesiredCapacity"] == 0


def test_an_interrupted_run_goes_on_where_it_was(machine: Machine) -> None:
    machine.upload("interrupt.jpg")
    with machine.started() as process:
        while not (machine.disk / "is-training").exists():
            assert process.poll() is None, machine.log()
            threading.Event().wait(0.1)
        machine.metadata.interrupted = True
        process.wait(300)

    assert process.returncode == 143
    assert [key.partition("/")[2] for key in machine.objects("checkpoints/")] == ["features/one.features"]
    assert machine.model() == "none"
    assert machine.group()["DesiredCapacity"] == 1, "the group is to start another instance"
    assert machine.shutdowns() == ["-P +45", "-P now"]
    assert any("spot interruption" in line for line in machine.log())

    machine.replace()
    assert machine.run() == 0, machine.log()

    assert "training on ['interrupt.jpg'] resumed" in machine.log()
    assert machine.model() != "none"
    assert machine.group()["DesiredCapacity"] == 0


def test_a_training_that_something_else_interrupts_goes_on_on_the_same_machine(machine: Machine) -> None:
    machine.upload("kill.jpg")

    assert machine.run() == 0, machine.log()

    log = machine.log()
    assert "training on ['kill.jpg'] from the start" in log
    assert any(line.endswith("the training was interrupted, and goes on from its checkpoints") for line in log)
    assert "training on ['kill.jpg'] resumed" in log
    assert machine.model() != "none"


def test_a_training_that_is_interrupted_again_and_again_ends(machine: Machine) -> None:
    machine.upload("hopeless.jpg")

    assert machine.run() == 75

    assert sum(line.startswith("training on ['hopeless.jpg']") for line in machine.log()) == 3
    assert machine.model() == "none"
    assert machine.group()["DesiredCapacity"] == 0


def test_a_package_that_is_not_what_its_key_says_is_not_run(machine: Machine, client: Callable[[str], Any]) -> None:
    machine.upload("one.jpg")
    (item,) = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="training/")["Contents"]
    client("s3").put_object(Bucket=BUCKET, Key=item["Key"], Body=b"something else")
    try:
        assert machine.run() == 1
    finally:
        client("s3").put_object(Bucket=BUCKET, Key=item["Key"], Body=package())

    assert any("not the one that its key names" in line for line in machine.log())
    assert machine.model() == "none"


def test_the_time_limit_is_set_before_anything_else(user_data: str) -> None:
    commands = [line for line in user_data.splitlines() if line and not line.startswith("#") and "='" not in line]
    assert commands[:3] == ["set -euo pipefail", "umask 077", 'if ! shutdown -P "+$TIME_LIMIT_MINUTES"; then']


def test_the_prices_in_the_warning_and_the_readme_are_those_on_file() -> None:
    price = json.loads((REPOSITORY / "python/ops/src/whippet/prices.json").read_text())["t3.large"]["usd_per_hour"]
    module = REPOSITORY / "terraform/modules/training_instance"
    assert f"which a t3.large has at {price}." in (module / "image.tf").read_text()
    assert f"| instance, US dollars an hour | {price} | {price} |" in (module / "README.md").read_text()


def test_the_script_passes_shellcheck(machine: Machine) -> None:
    subprocess.run([Path(sys.executable).with_name("shellcheck"), machine.script], check=True)
