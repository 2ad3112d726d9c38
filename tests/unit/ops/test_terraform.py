import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whippet.terraform import (
    PROVIDER,
    Terraform,
    TerraformError,
    current_platform,
    find_mirrors,
    implied_mirrors,
)

OFFLINE = {"TF_REGISTRY_CLIENT_TIMEOUT": "1", "TF_REGISTRY_DISCOVERY_RETRY": "0", "CHECKPOINT_DISABLE": "1"}


#: Applies the folder that it is given, tells what happens, and ends as an interrupted command does.
APPLY = """
import sys
from pathlib import Path
from whippet.terraform import Terraform
try:
    Terraform(Path(sys.argv[1]), workspace="rehearsal").stream(
        "apply", "-auto-approve", "-input=false", on_event=lambda event: print(event["type"], flush=True)
    )
except KeyboardInterrupt:
    sys.exit(130)
"""


def unpacked(mirror: Path, platform: str) -> Path:
    folder = mirror / PROVIDER / "5.100.0" / platform
    folder.mkdir(parents=True)
    (folder / "terraform-provider-aws_v5.100.0_x5").touch()
    return mirror


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), **OFFLINE, **more}


def fake_terraform(folder: Path, script: str) -> dict[str, str]:
    """An environment whose `terraform` is a shell script, for failures that other machines have."""
    binary = folder / "bin" / "terraform"
    binary.parent.mkdir()
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{binary.parent}:{os.environ['PATH']}", "HOME": str(folder)}


def test_implied_mirrors_come_before_add_on_prefixes(tmp_path: Path) -> None:
    implied = unpacked(tmp_path / "home/.terraform.d/plugins", "linux_amd64")
    add_on = unpacked(tmp_path / "opt/some/plugins", "linux_amd64")
    candidates = implied_mirrors({"HOME": str(tmp_path / "home")}, tmp_path)
    assert list(find_mirrors(candidates, [tmp_path / "opt"], "linux_amd64")) == [implied, add_on]


def test_a_mirror_for_another_platform_is_not_used(tmp_path: Path) -> None:
    unpacked(tmp_path / "opt/plugins", "windows_386")
    assert list(find_mirrors([], [tmp_path / "opt"], "linux_amd64")) == []


def test_the_xdg_folders_and_the_plugin_cache_count_as_mirrors(tmp_path: Path) -> None:
    env = {"HOME": "/h", "XDG_DATA_HOME": "/x", "XDG_DATA_DIRS": "/d1:/d2", "TF_PLUGIN_CACHE_DIR": "/cache"}
    found = implied_mirrors(env, tmp_path)
    assert found[0] == Path("/cache")
    assert found[-3:] == [Path("/x/terraform/plugins"), Path("/d1/terraform/plugins"), Path("/d2/terraform/plugins")]


def test_init_leaves_a_working_set_up_alone(tmp_path: Path) -> None:
    env = fake_terraform(tmp_path, f'echo "$@" >> {tmp_path}/calls')
    Terraform(tmp_path, env=env, prefixes=[]).init()
    assert "-plugin-dir" not in (tmp_path / "calls").read_text()


def test_init_falls_back_to_a_mirror_where_the_registry_cannot_be_reached(tmp_path: Path) -> None:
    mirror = unpacked(tmp_path / "opt/plugins", current_platform())
    env = fake_terraform(
        tmp_path,
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$*" in *plugin-dir*) exit 0;; esac\n'
        'echo "Error: Failed to query available provider packages" >&2; exit 1',
    )
    Terraform(tmp_path, env=env, prefixes=[tmp_path / "opt"]).init("-backend=false")
    assert f"-plugin-dir={mirror} -backend=false" in (tmp_path / "calls").read_text().splitlines()[-1]


def test_init_says_what_to_do_where_there_is_no_provider(tmp_path: Path) -> None:
    env = fake_terraform(tmp_path, 'echo "Error: Failed to install provider" >&2; exit 1')
    with pytest.raises(TerraformError, match="terraform providers mirror"):
        Terraform(tmp_path, env=env, prefixes=[]).init()


def test_init_passes_on_an_error_that_no_mirror_can_mend(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("resource {")
    with pytest.raises(TerraformError, match=r"(?s)init failed.*main\.tf"):
        Terraform(tmp_path, env=environment(tmp_path), prefixes=[]).init()


def test_a_configuration_file_that_does_not_exist_is_not_mentioned(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, env=environment(tmp_path, TF_CLI_CONFIG_FILE=str(tmp_path / "missing")))
    assert "missing" not in terraform.run("version").stderr


def test_go_collects_no_garbage_while_there_is_memory_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    env = fake_terraform(tmp_path, "echo $GOGC $GOMEMLIMIT")
    assert Terraform(tmp_path, env=env).run("plan").stdout == "off 1GiB\n"
    assert Terraform(tmp_path, env={**env, "GOGC": "50"}).run("plan").stdout == "50 1GiB\n"


def test_without_terraform_the_error_says_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"install version 1\.9"):
        Terraform(tmp_path, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}).run("version")


@pytest.fixture
def stack(tmp_path: Path) -> Terraform:
    """A root module that needs no provider but the built-in one."""
    (tmp_path / "main.tf").write_text(
        'variable "word" { default = "breed" }\n'
        'resource "terraform_data" "this" { input = var.word }\n'
        'output "word" { value = terraform_data.this.output }\n'
    )
    terraform = Terraform(tmp_path, workspace="rehearsal", env=environment(tmp_path))
    terraform.init()
    return terraform


def test_stream_reports_events_and_output_reads_the_workspace(stack: Terraform) -> None:
    events: list[str] = []
    stack.stream("apply", "-auto-approve", "-input=false", on_event=lambda event: events.append(event["type"]))
    assert "apply_complete" in events
    assert stack.output() == {"word": "breed"}
    assert stack.resources() == ["terraform_data.this"]
    assert (stack.folder / "terraform.tfstate.d/rehearsal/terraform.tfstate").is_file()


def test_stream_raises_with_the_diagnostics_words(stack: Terraform) -> None:
    (stack.folder / "main.tf").write_text('resource "terraform_data" "this" { input = var.nothing }\n')
    with pytest.raises(TerraformError, match="undeclared input variable"):
        stack.stream("apply", "-auto-approve", "-input=false", on_event=lambda event: None)


def test_an_interrupt_lets_terraform_write_its_state_and_release_its_lock(stack: Terraform) -> None:
    (stack.folder / "main.tf").write_text(
        'resource "terraform_data" "first" {}\n'
        'resource "terraform_data" "slow" {\n'
        "  depends_on = [terraform_data.first]\n"
        '  provisioner "local-exec" { command = "sleep 60" }\n'
        "}\n"
    )
    # In a process of its own: an interrupt is for a whole process, and the one of the tests has others in it.
    process = subprocess.Popen(
        [sys.executable, "-c", APPLY, str(stack.folder)], env=stack.env, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert any(line == "provision_start\n" for line in process.stdout)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    state = stack.folder / "terraform.tfstate.d/rehearsal"
    assert not list(state.glob(".terraform.tfstate.lock.info"))
    names = {item["name"] for item in json.loads((state / "terraform.tfstate").read_text())["resources"]}
    assert "first" in names


def test_variables_have_the_values_that_a_command_would_see(tmp_path: Path) -> None:
    (tmp_path / "variables.tf").write_text("".join(f'variable "{name}" {{\n  default = 0\n}}\n' for name in "abcd"))
    (tmp_path / "main.tf").write_text('data "aws_region" "this" {}\n')  # the provider of which is not installed
    (tmp_path / "own.auto.tfvars").write_text("b = 1\n")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "dev.tfvars").write_text('c = ["x"]\n')
    root = Terraform(tmp_path, env=environment(tmp_path, TF_VAR_d="two"))
    assert root.variables("a", "b", "c", "d", options=["-var-file=envs/dev.tfvars"]) == [0, 1, ["x"], "two"]
    with pytest.raises(TerraformError, match=r"none\.tfvars"):
        root.variables("a", options=["-var-file=envs/none.tfvars"])


def test_it_tells_the_variables_values_also_where_the_data_folder_names_a_backend(tmp_path: Path) -> None:
    (tmp_path / "variables.tf").write_text('variable "a" {\n  default = 1\n}\n')
    data = tmp_path / "data"
    data.mkdir()
    backend = {"type": "s3", "config": {"bucket": "states", "key": "dev", "region": "us-east-1"}, "hash": 1}
    (data / "terraform.tfstate").write_text(
        json.dumps({"version": 3, "terraform_version": "1.9.0", "backend": backend})
    )

    assert Terraform(tmp_path, env=environment(tmp_path, TF_DATA_DIR=str(data))).variables("a") == [1]
