"""The training instance's start script, run for real: a folder stands in for S3, and nothing is shut down."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from whippet.terraform import Terraform

TEMPLATE = Path(__file__).parents[2] / "terraform/modules/training_instance/user_data.sh.tftpl"

AWS = """\
#!/bin/bash
# aws s3 cp|sync [--flags] FROM TO, with s3://BUCKET/KEY as $S3/BUCKET/KEY
paths=()
for word in "${@:3}"; do
  case $word in --*) ;; s3://*) paths+=("$S3/${word#s3://}") ;; *) paths+=("$word") ;; esac
done
mkdir -p "$(dirname "${paths[1]}")"
if [ -d "${paths[0]}" ]; then cp -rT "${paths[0]}" "${paths[1]}"; else cp "${paths[0]}" "${paths[1]}"; fi
"""

SHUTDOWN = '#!/bin/bash\necho "$@" >"$S3/shutdown"\n'

TRAIN = """\
import json, os, pathlib, sys
photos = sorted(path.name for path in pathlib.Path(os.environ["SM_CHANNEL_TRAINING"]).rglob("*.jpg"))
print("training on", photos)
if "--fail" in sys.argv:
    sys.exit(3)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps({"flags": sys.argv[1:], "photos": photos}))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "metrics.json").write_text("{}")
"""


class Machine:
    """A folder that holds the instance's disk, its S3, and the commands that the script calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.s3 = folder / "s3"
        self.bucket = self.s3 / "bucket"
        (self.bucket / "data/train/beagle").mkdir(parents=True)
        (self.bucket / "data/train/beagle/one.jpg").touch()
        (self.bucket / "training").mkdir()
        with zipfile.ZipFile(self.bucket / "training/training.zip", "w") as package:
            package.writestr("whippet_training/__init__.py", "")
            package.writestr("whippet_training/train.py", TRAIN)
        for name, text in {"aws": AWS, "shutdown": SHUTDOWN}.items():
            command = folder / "bin" / name
            command.parent.mkdir(exist_ok=True)
            command.write_text(text)
            command.chmod(0o755)

    def script(self, **hyperparameters: str) -> Path:
        """The script as the module's templatefile renders it."""
        variables = {
            "image": "ami-0",
            "work_dir": str(self.folder / "ml"),
            "region": "us-east-1",
            "bucket": "bucket",
            "data_prefix": "data/",
            "runs_prefix": "runs/",
            "training_package_s3_uri": "s3://bucket/training/training.zip",
            "hyperparameters": hyperparameters,
            "stop_when_done": True,
        }
        renderer = self.folder / "renderer"
        renderer.mkdir()
        call = f"templatefile({json.dumps(str(TEMPLATE))}, {json.dumps(variables)})"
        (renderer / "main.tf").write_text(f'output "script" {{\n  value = {call}\n}}\n')
        terraform = Terraform(renderer)
        terraform.run("apply", "-auto-approve")
        script = self.folder / "user_data.sh"
        script.write_text(terraform.output()["script"])
        return script

    def start(self, script: Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "S3": str(self.s3)}
        return subprocess.run(["bash", script], env=env, capture_output=True, text=True, timeout=60, check=False)

    def run_folder(self) -> Path:
        (run,) = (self.bucket / "runs").iterdir()
        return run


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_script_is_bash(machine: Machine) -> None:
    subprocess.run(["bash", "-n", machine.script(seed="0")], check=True)


def test_script_trains_uploads_and_stops_the_machine(machine: Machine) -> None:
    started = machine.start(machine.script(seed="7", backbone="tf_efficientnet_lite0"))

    run = machine.run_folder()
    assert started.returncode == 0, (run / "training.log").read_text()
    assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {
        "model.tar.gz",
        "output/metrics.json",
        "training.log",
    }
    with tarfile.open(run / "model.tar.gz") as archive:
        assert archive.getnames() == ["model.json"]
        model = json.load(archive.extractfile("model.json"))  # type: ignore[arg-type]
    assert model == {"flags": ["--backbone", "tf_efficientnet_lite0", "--seed", "7"], "photos": ["one.jpg"]}
    assert (machine.s3 / "shutdown").read_text() == "-h now\n"


def test_failed_training_leaves_its_log_and_no_model(machine: Machine) -> None:
    script = machine.script(seed="0")
    script.write_text(script.read_text().replace("--seed '0'", "--fail"))

    started = machine.start(script)

    run = machine.run_folder()
    assert started.returncode == 3
    assert {path.name for path in run.rglob("*")} == {"training.log"}
    assert (run / "training.log").read_text() == textwrap.dedent("""\
        training on ['one.jpg']
        exit code 3
    """)
    assert (machine.s3 / "shutdown").exists()
