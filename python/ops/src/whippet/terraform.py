"""Runs Terraform, and finds the AWS provider on machines that cannot reach the provider registry."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from whippet.errors import WhippetError

T = TypeVar("T")

PROVIDER = Path("registry.terraform.io/hashicorp/aws")

#: What Go, and so Terraform, calls the processors that Python names otherwise.
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

#: Summaries of the errors with which `terraform init` says that the user's own set-up cannot install a provider.
PROVIDER_NOT_INSTALLABLE = (
    "Failed to query available provider packages",
    "Failed to install provider",
    "Failed to resolve provider packages",
)

#: Where packagers put add-ons: Filesystem Hierarchy Standard 3.0, sections 3.13, 4.6, 4.9 and 4.11, and Homebrew.
ADD_ON_PREFIXES = (Path("/opt"), Path("/usr/local"), Path("/usr/share"), Path("/usr/lib"), Path("/opt/homebrew"))

#: Reading the AWS provider's schema, at every command, leaves garbage whose collection takes half of the command's
#: processor time: Go lets it lie up to this much memory of each process. https://go.dev/doc/gc-guide#Memory_limit
GO_MEMORY = {"GOGC": "off", "GOMEMLIMIT": "1GiB"}


class TerraformError(WhippetError):
    """Terraform is missing, cannot install the AWS provider, or ended with an error."""


def current_platform() -> str:
    """The platform's name in a mirror's folders, such as `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{sys.platform}_{GO_ARCHITECTURES.get(machine, machine)}"


def implied_mirrors(env: Mapping[str, str], folder: Path) -> list[Path]:
    """Terraform's implied mirror folders, and its plugin cache, which is laid out like one.

    Terraform skips them where a CLI configuration has a `provider_installation` block of its own.
    Source: https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories

    Args:
        env: the environment that names home and data folders.
        folder: the folder that Terraform runs in.
    """
    home = Path(env.get("HOME", "~")).expanduser()
    cache = [Path(env["TF_PLUGIN_CACHE_DIR"])] if env.get("TF_PLUGIN_CACHE_DIR") else []
    data = [Path(env.get("XDG_DATA_HOME") or home / ".local/share")]
    data += map(Path, (env.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(os.pathsep))
    return [
        *cache,
        folder / "terraform.d/plugins",
        home / ".terraform.d/plugins",
        home / "Library/Application Support/io.terraform/plugins",
        *(path / "terraform/plugins" for path in data),
    ]


def find_mirrors(candidates: Iterable[Path], prefixes: Iterable[Path], platform_name: str) -> Iterator[Path]:
    """Unpacked filesystem mirrors that hold the AWS provider for a platform, in the order of preference.

    Args:
        candidates: folders that may be mirrors.
        prefixes: folders below which a mirror may lie, at most three levels down.
        platform_name: such as `linux_amd64`.
    """
    below = (
        found.parents[2]
        for prefix in prefixes
        for depth in ("", "*/", "*/*/", "*/*/*/")
        for found in sorted(prefix.glob(f"{depth}{PROVIDER}"))
    )
    seen: set[Path] = set()
    for mirror in (*candidates, *below):
        if mirror not in seen and any(mirror.glob(f"{PROVIDER}/*/{platform_name}/terraform-provider-aws*")):
            yield mirror
        seen.add(mirror)


class Terraform:
    """Terraform in one folder and one workspace.

    Args:
        folder: the root module.
        workspace: the workspace; it need not exist yet.
        env: the environment Terraform gets; by default this process's.
        prefixes: folders below which an unpacked provider mirror is looked for.
    """

    def __init__(
        self,
        folder: Path,
        workspace: str = "default",
        env: Mapping[str, str] | None = None,
        prefixes: Iterable[Path] = ADD_ON_PREFIXES,
    ) -> None:
        self.folder = folder
        self.workspace = workspace
        self.prefixes = tuple(prefixes)
        given = os.environ if env is None else env
        self.env = {**GO_MEMORY, **given, "TF_IN_AUTOMATION": "1", "TF_WORKSPACE": workspace}
        # Terraform warns on every call about a configuration file that does not exist; to it the variable is as unset.
        if not Path(self.env.get("TF_CLI_CONFIG_FILE", "/")).is_file():
            self.env.pop("TF_CLI_CONFIG_FILE", None)

    def init(self, *args: str) -> None:
        """Runs `terraform init`, with an unpacked mirror where the user's own set-up cannot install the provider.

        Raises:
            TerraformError: init failed, or no provider can be had.
        """
        first = self.run("init", "-input=false", "-no-color", *args, check=False)
        if first.returncode == 0:
            return
        if not any(summary in first.stdout + first.stderr for summary in PROVIDER_NOT_INSTALLABLE):
            raise TerraformError(_failure("init", first))
        for mirror in find_mirrors(implied_mirrors(self.env, self.folder), self.prefixes, current_platform()):
            second = self.run("init", "-input=false", "-no-color", f"-plugin-dir={mirror}", *args, check=False)
            if second.returncode == 0:
                return
        raise TerraformError(
            "Terraform can install hashicorp/aws neither from the registry nor from an unpacked mirror here. "
            "Connect to the network, or unpack the provider (>= 5.100, < 7.0) with `terraform providers mirror` "
            f"into {implied_mirrors(self.env, self.folder)[-2]} and try again."
        )

    def run(self, *args: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a Terraform command to its end and returns what it printed.

        Args:
            args: of the command line.
            check: whether an error of the command is raised.
            text: what the command reads; by default nothing.

        Raises:
            TerraformError: the command ended with an error (unless `check` is false), or Terraform is not installed.
        """
        with self._start(*args, stdin=subprocess.DEVNULL if text is None else subprocess.PIPE) as process:
            stdout, stderr = _finish(process, lambda: process.communicate(text))
        done = subprocess.CompletedProcess(args, process.returncode, stdout, stderr)
        if check and done.returncode != 0:
            raise TerraformError(_failure(args[0], done))
        return done

    def stream(self, *args: str, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Runs a command that takes `-json`, and hands over each event as it happens.

        Events: https://developer.hashicorp.com/terraform/internals/machine-readable-ui

        Raises:
            TerraformError: with the diagnostics' own words.
        """
        errors: list[str] = []
        with self._start(*args, "-json") as process:

            def follow() -> None:
                for line in process.stdout or ():
                    if not line.startswith("{"):
                        continue
                    event = json.loads(line)
                    if event.get("type") == "diagnostic" and event["diagnostic"]["severity"] == "error":
                        diagnostic = event["diagnostic"]
                        where = f" ({diagnostic['address']})" if diagnostic.get("address") else ""
                        errors.append(f"{diagnostic['summary']}{where} {diagnostic.get('detail', '')}".strip())
                    on_event(event)
                process.wait()

            _finish(process, follow)
        if process.returncode != 0:
            detail = "\n".join(errors) or f"exit code {process.returncode}"
            raise TerraformError(f"terraform {args[0]} failed: {detail}")

    def variables(self, *names: str, options: Iterable[str] = ()) -> list[Any]:
        """Values of the root module's variables, wherever they are set.

        Nothing but the variables is loaded: the provider alone would take two seconds.

        Args:
            names: of the variables.
            options: such as `-var-file=FILE`.

        Raises:
            TerraformError: a value is missing or refused.
        """
        expression = f"jsonencode([{', '.join(f'var.{name}' for name in names)}])"
        with tempfile.TemporaryDirectory(prefix="whippet-variables-") as folder:
            for path in self.folder.resolve().iterdir():
                if path.name in ("variables.tf", "envs") or ".tfvars" in path.suffixes:
                    Path(folder, path.name).symlink_to(path)
            # its data folder may name a backend, which the variables alone know nothing of
            alone = Terraform(Path(folder), env={name: it for name, it in self.env.items() if name != "TF_DATA_DIR"})
            printed = alone.run("console", "-no-color", *options, text=f"{expression}\n").stdout
        values: list[Any] = json.loads(json.loads(printed))
        return values

    def output(self) -> dict[str, Any]:
        """The root module's outputs; empty where nothing is deployed."""
        return {name: item["value"] for name, item in json.loads(self.run("output", "-json").stdout).items()}

    def resources(self) -> list[str]:
        """Addresses of the managed resources in the state, data sources left out."""
        listed = self.run("state", "list", check=False)
        return [line for line in listed.stdout.splitlines() if not line.startswith("data.") and ".data." not in line]

    def _start(self, *args: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        executable = shutil.which("terraform", path=self.env.get("PATH"))
        if executable is None:
            raise TerraformError("Terraform is not installed: install version 1.9 or newer and put it on the PATH.")
        return subprocess.Popen(
            [executable, f"-chdir={self.folder}", *args],
            env=self.env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "-json" in args and args[0] != "output" else subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches Terraform once, from here, and not twice
        )


def _finish(process: subprocess.Popen[str], wait: Callable[[], T]) -> T:
    """Waits; on Ctrl-C asks Terraform to stop, lets it write its state and release its lock, and goes on raising."""
    try:
        return wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise


def _failure(command: str, done: subprocess.CompletedProcess[str]) -> str:
    return f"terraform {command} failed:\n{(done.stderr or done.stdout).strip()}"
