"""Format, validity and the offline runs of `terraform test`."""

from __future__ import annotations

import re
from pathlib import Path

import hcl2
import pytest

from whippet.terraform import Terraform

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(path.name for path in (REPOSITORY / "terraform/modules").iterdir())
RUNS = sorted(path.name for path in (REPOSITORY / "terraform/tests").glob("*.tftest.hcl"))


def test_files_are_formatted(root: Terraform) -> None:
    assert root.run("fmt", "-check", "-recursive").stdout == ""


def test_root_is_valid(root: Terraform) -> None:
    root.run("validate")


@pytest.mark.parametrize("module", MODULES)
def test_module_is_valid_on_its_own(configuration: Path, module: str) -> None:
    terraform = Terraform(configuration / "modules" / module)
    terraform.init()
    terraform.run("validate")


@pytest.mark.parametrize("module", MODULES)
def test_module_has_the_usual_files(configuration: Path, module: str) -> None:
    folder = configuration / "modules" / module
    assert {"main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"} <= {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("file", RUNS)
def test_offline_runs_pass(root: Terraform, file: str) -> None:
    root.run("test", "-no-color", f"-filter=tests/{file}")


def test_every_module_has_offline_runs() -> None:
    assert {f"{module}.tftest.hcl" for module in MODULES} | {"root.tftest.hcl"} == set(RUNS)


@pytest.mark.parametrize("name", [*MODULES, "root"])
def test_every_validation_has_a_run_that_fails_it(configuration: Path, name: str) -> None:
    runs = (configuration / "tests" / f"{name}.tftest.hcl").read_text()
    failed = set(re.findall(r"\bvar\.\w+", " ".join(re.findall(r"expect_failures = \[(.*?)\]", runs, re.DOTALL))))
    folder = configuration if name == "root" else configuration / "modules" / name
    validated = {
        "var." + variable.strip('"')
        for path in folder.glob("*.tf")
        for block in hcl2.loads(path.read_text()).get("variable", [])
        for variable, body in block.items()
        if "validation" in body
    }
    assert validated - failed == set()
