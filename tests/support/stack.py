"""The project's own Terraform, applied to one local AWS."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from whippet.local import control
from whippet.terraform import Terraform

ROOT = Path(__file__).parents[2]
STATES = shutil.ignore_patterns(".terraform*", "terraform.tfstate*", "*.tfplan")


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


class Stack:
    """The root module in a folder of its own, applied to one local AWS.

    Args:
        folder: does not exist yet.
        port: of local AWS.
        model: the model archive.
        function: the Lambda's zip, and what stands for the training package.
        environment: which of envs/.
        files: more files with variables, in the root module.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        model: Path,
        function: Path,
        environment: str = "local",
        files: Sequence[str] = (),
    ) -> None:
        shutil.copytree(ROOT / "terraform", folder, ignore=STATES)
        self.terraform = Terraform(folder, environment)
        self._files = [f"-var-file={file}" for file in (f"envs/{environment}.tfvars", *files)]
        self.terraform.init()
        self.folder = folder
        self.variables = {
            "local_aws_url": control.url(port),
            "lambda_zip": str(function),
            "training_package": str(function),
            "model_archive": str(model),
        }

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        named = [word for name, value in self.variables.items() for word in ("-var", f"{name}={value}")]
        options = ["-input=false", "-no-color", *self._files, *named]
        return self.terraform.run(command, *arguments, *options, check=check)

    def changes(self) -> str:
        """What Terraform would change now."""
        planned = self.run("plan", "-detailed-exitcode", check=False)
        return "" if planned.returncode == 0 else planned.stdout + planned.stderr
