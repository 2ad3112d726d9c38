"""Each module's examples, as a user runs them on AWS: what leads them to local AWS is their environment alone.

Beside an example's main.tf lies changed.tfvars, which gives each input that can be changed in place another value.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from support.stack import ROOT, STATES, pack
from whippet.local import control
from whippet.terraform import Terraform

MODULES = ROOT / "terraform" / "modules"
EXAMPLES = sorted(path.parent.relative_to(MODULES) for path in MODULES.glob("*/examples/*/main.tf"))


#: What AWS cannot change: it gets a successor, which is there before it goes.
REPLACED = re.compile(
    r"aws_sagemaker_(model|endpoint_configuration|notebook_instance_lifecycle_configuration)|aws_s3_object"
    r"|terraform_data|aws_autoscaling_(group|policy)"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_HOME", str(tmp_path_factory.mktemp("whippet")))
        control.up(port)
        yield control.url(port)
        control.down(port)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """What examples are given, by the variable that names it."""
    folder = tmp_path_factory.mktemp("archives")
    package = shutil.make_archive(str(folder / "lambda"), "zip", ROOT / "python" / "lambda" / "src")
    return {
        "model_archive": pack(tiny_model, folder / "model.tar.gz"),
        "lambda_zip": Path(package),
        "training_package": pack(ROOT / "python" / "training" / "src", folder / "training.tar.gz"),
    }


class Example:
    """A copy of one example, with the modules where it looks for them."""

    def __init__(self, name: Path, folder: Path, url: str, archives: dict[str, Path]) -> None:
        shutil.copytree(MODULES, folder / "modules", ignore=STATES)
        self._folder = folder / "modules" / name
        account = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.terraform = Terraform(self._folder, env={**os.environ, **account})
        self.terraform.init()
        text = (self._folder / "main.tf").read_text()
        wanted = {key: str(path) for key, path in archives.items() if f'variable "{key}"' in text}
        (self._folder / "terraform.tfvars.json").write_text(json.dumps(wanted))

    def run(self, command: str, *arguments: str, changed: bool, check: bool = True) -> Any:
        return self.terraform.run(command, *arguments, *self._options(changed), check=check)

    def drift(self, changed: bool) -> str:
        """What Terraform would do right after it has applied the same."""
        planned = self.run("plan", "-detailed-exitcode", changed=changed, check=False)
        return "" if planned.returncode == 0 else f"{planned.stdout}{planned.stderr}"

    def change(self) -> dict[str, str]:
        """Applies the changed inputs; what was done to each resource that is not as it was, by its address."""
        actions = {}

        def note(event: dict[str, Any]) -> None:
            if event["type"] == "planned_change":
                actions[event["change"]["resource"]["addr"]] = event["change"]["action"]

        options = ["-auto-approve", "-refresh=false", *self._options(changed=True)]
        self.terraform.stream("apply", *options, on_event=note)
        return actions

    @staticmethod
    def _options(changed: bool) -> list[str]:
        return ["-input=false", "-no-color", "-parallelism=40", *(["-var-file=changed.tfvars"] if changed else [])]


def test_every_module_has_an_example() -> None:
    assert {path.parts[0] for path in EXAMPLES} == {path.parent.name for path in MODULES.glob("*/versions.tf")}


@pytest.mark.parametrize("name", EXAMPLES, ids=str)
def test_applies_plans_clean_changes_in_place_and_destroys(
    name: Path, url: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    example = Example(name, tmp_path, url, archives)
    example.run("apply", "-auto-approve", "-refresh=false", changed=False)
    assert example.drift(changed=False) == ""
    done = example.change()
    assert "update" in done.values()
    # What cannot be changed in place has a successor, under another name.
    replaced = {address for address, action in done.items() if action == "replace"}
    assert {address for address in replaced if not REPLACED.search(address)} == set()
    assert example.drift(changed=True) == ""
    example.run("destroy", "-auto-approve", "-refresh=false", changed=True)
    assert example.terraform.resources() == []
