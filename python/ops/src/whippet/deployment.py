"""Builds the archives, applies the Terraform for an environment, checks that the Lambda answers, and tears it down."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from whippet.errors import WhippetError
from whippet.local import control as local_aws
from whippet.local.settings import DEFAULT_PORT
from whippet.predict import ask
from whippet.project import Project
from whippet.terraform import Terraform

ENVIRONMENTS = ("local", "dev", "prod")


@dataclass(frozen=True)
class Deployment:
    """One environment of a checkout: a Terraform workspace, and the account it is applied to.

    Attributes:
        project: the checkout.
        environment: one of `ENVIRONMENTS`.
        port: the port of local AWS; used by the environment `local` only.
    """

    project: Project
    environment: str
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        if self.environment not in ENVIRONMENTS:
            raise WhippetError(
                f"There is no environment {self.environment!r}: choose one of {', '.join(ENVIRONMENTS)}."
            )

    @property
    def is_local(self) -> bool:
        """Whether it lives on local AWS."""
        return self.environment == "local"

    @property
    def workspace(self) -> str:
        """The Terraform workspace, so that environments side by side never share a state."""
        if self.is_local and self.port != DEFAULT_PORT:
            return f"local-{self.port}"
        return self.environment

    @cached_property
    def terraform(self) -> Terraform:
        """Terraform in this environment's workspace."""
        return Terraform(self.project.terraform, self.workspace)

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The Terraform outputs.

        Raises:
            WhippetError: nothing is deployed.
        """
        outputs = self.terraform.output()
        if not outputs:
            raise WhippetError(
                f"Nothing is deployed to {self.environment}: run `whippet deploy --env {self.environment}`."
            )
        return outputs

    def client(self, service: str, region: str | None = None, attempts: int = 1) -> Any:
        """A boto3 client for the account and region this environment lives in.

        On AWS credentials are found as every AWS tool finds them; local AWS takes the usual test credentials.

        Args:
            service: boto3's name of it.
            region: by default that of what is deployed.
            attempts: how often a call is tried where AWS is busy or cannot be reached.

        Raises:
            WhippetError: nothing is deployed, and no region was given, or local AWS does not run.
        """
        if self.is_local and local_aws.status(self.port) is None:
            raise WhippetError(
                f"Local AWS does not run on port {self.port}: start it with `whippet local up`, "
                "or with `whippet deploy --env local`."
            )
        region = region or self.outputs["region"]
        retries: Any = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(retries=retries, read_timeout=70, max_pool_connections=64)
        if not self.is_local:
            return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]
        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=region,
            endpoint_url=local_aws.url(self.port),
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - local AWS's documented test credentials
            config=config,
        )

    @property
    def settings(self) -> str:
        """The option of Terraform that names the environment's file of variables."""
        return f"-var-file=envs/{self.environment}.tfvars"

    @cached_property
    def single_hop(self) -> LambdaPlatform | None:
        """What a Lambda that holds the model itself runs on; None where an endpoint serves the model.

        Raises:
            TerraformError: Terraform refuses the environment's variables.
        """
        single_hop, architecture = self.terraform.variables(
            "single_hop", "lambda_architecture", options=[self.settings]
        )
        if not single_hop:
            return None
        return LambdaPlatform.of_this_machine() if self.is_local else LambdaPlatform(architecture)

    @property
    def lambda_zip(self) -> Path:
        """The Lambda's deployment zip."""
        if self.single_hop is None:
            return self.project.lambda_zip
        # the name that the Terraform looks for by itself, so that `terraform apply` finds what was built last
        return self.project.single_hop_zip("local" if self.is_local else self.single_hop.architecture)

    def variables(self, model: Path) -> list[str]:
        """The arguments that give the root module its variables."""
        paths = {
            "model_archive": model,
            "lambda_zip": self.lambda_zip,
            "training_package": self.project.training_package,
        }
        values = {name: str(path.resolve()) for name, path in paths.items()}
        if self.is_local:
            values["local_aws_url"] = local_aws.url(self.port)
        return [
            self.settings,
            *(argument for name, value in values.items() for argument in ("-var", f"{name}={value}")),
        ]


class LambdaPlatform(NamedTuple):
    """What the compiled packages of a Lambda's zip are for.

    Attributes:
        architecture: the processor, as Lambda names it.
        runtime: the Python, as Lambda names it; None for that of the Terraform.
    """

    architecture: str
    runtime: str | None = None

    @classmethod
    def of_this_machine(cls) -> LambdaPlatform:
        """This Python on this processor, which local AWS runs functions with.

        Raises:
            WhippetError: the packages are not made for it.
        """
        if sys.platform != "linux" or not (3, 11) <= sys.version_info[:2] <= (3, 13):
            raise WhippetError(
                "A Lambda that holds the model runs on local AWS only under Linux with Python 3.11 to 3.13, for which "
                "its packages are made: leave single_hop out for --env local."
            )
        machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
        return cls(machine, f"python{sys.version_info.major}.{sys.version_info.minor}")


def build(deployment: Deployment, model: Path) -> None:
    """Builds the Lambda zip and the training package.

    Raises:
        WhippetError: with the build script's own line.
    """
    function = ["build_lambda.py"]
    if deployment.single_hop:
        architecture, runtime = deployment.single_hop
        function = ["build_single_hop.py", "--model", str(model), "--architecture", architecture]
        function += ["--runtime", runtime] if runtime else []
    for script, *options in ([*function, "--out", str(deployment.lambda_zip)], ["build_training.py"]):
        command = [sys.executable, str(deployment.project.root / "scripts" / script), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise WhippetError(f"scripts/{script} failed: {done.stderr.strip()}")


def deploy(deployment: Deployment, model: Path, confirm: Callable[[str], bool], console: Console) -> float:
    """Brings an environment to what the Terraform says, and checks that its Lambda answers.

    Args:
        deployment: what to bring up; local AWS is started where the environment is `local` and it does not run.
        model: the archive to serve.
        confirm: shown the plan of an environment on AWS; nothing is changed unless it says yes.
        console: where progress goes.

    Returns:
        The seconds that `terraform apply` took.

    Raises:
        WhippetError: with what to do about it.
    """
    if not model.is_file():
        raise WhippetError(
            f"There is no model at {model}: train one with `whippet train DIR`, or name it with --model."
        )
    terraform = deployment.terraform
    if deployment.is_local:
        use_running_local_aws(deployment)
    terraform.init()
    build(deployment, model)
    variables = deployment.variables(model)
    if deployment.is_local:
        seconds = _apply(terraform, variables, console)
    else:
        plan = deployment.project.build / f"{deployment.workspace}.tfplan"
        plan.parent.mkdir(exist_ok=True)
        try:
            shown = terraform.run("plan", "-input=false", f"-out={plan}", *variables).stdout
            if not confirm(shown):
                raise WhippetError("Nothing was changed.")
            seconds = _apply(terraform, [str(plan)], console)
        finally:
            plan.unlink(missing_ok=True)  # a plan holds every value in the clear
    deployment.__dict__.pop("outputs", None)
    smoke_test(deployment)
    return seconds


def smoke_test(deployment: Deployment) -> None:
    """Asks the Lambda about a small picture.

    Raises:
        WhippetError: it does not answer with a prediction.
    """
    photo = resources.files("whippet").joinpath("smoke.jpg").read_bytes()
    function_name = deployment.outputs["lambda_function_name"]
    answer = ask(deployment.client("lambda"), function_name, photo, top_k=1)
    if answer.label is None:
        raise WhippetError(
            f"The deployment is up but {function_name} answered {answer.status}: {answer.detail} "
            f"See the log group /aws/lambda/{function_name}."
        )


def second_plan(deployment: Deployment, model: Path) -> str:
    """What Terraform would change now.

    Returns:
        `no changes` where the account is what the Terraform says, else Terraform's own count of what it would do.

    Raises:
        WhippetError: the plan failed.
    """
    arguments = ("plan", "-input=false", "-no-color", "-detailed-exitcode", *deployment.variables(model))
    done = deployment.terraform.run(*arguments, check=False)
    if done.returncode == 0:
        return "no changes"
    if done.returncode == 2:
        return next((line for line in done.stdout.splitlines() if line.startswith("Plan:")), "changes to outputs")
    raise WhippetError(f"terraform plan failed: {done.stderr.strip()}")


def destroy(deployment: Deployment, confirm: Callable[[str], bool], console: Console) -> int:
    """Removes everything that the environment's state holds.

    Returns:
        How many resources were removed.

    Raises:
        WhippetError: some resource could not be removed; run it again after mending what it names.
    """
    terraform = deployment.terraform
    resources_before: list[str] = []
    if not (deployment.is_local and _state_is_stale(deployment)):
        terraform.init()
        resources_before = terraform.resources()
    if not resources_before:
        _forget_rehearsal(deployment)
        return 0
    if not deployment.is_local and not confirm("This will destroy:\n  " + "\n  ".join(resources_before)):
        raise WhippetError("Nothing was changed.")
    # Destroying needs no archive, but the variables that name one are still evaluated: leave them at their defaults.
    variables = [deployment.settings]
    if deployment.is_local:
        local_aws.up(deployment.port)  # what was deployed is on disk where it does not run
        variables += ["-var", f"local_aws_url={local_aws.url(deployment.port)}"]
    _run_with_progress(terraform, "destroy", ["-auto-approve", "-input=false", *variables], console)
    _forget_rehearsal(deployment)
    return len(resources_before)


def _forget_rehearsal(deployment: Deployment) -> None:
    """Removes the workspace of a local deployment: rehearsals on many ports would leave one each."""
    if deployment.is_local:
        _forget_state(deployment)


def _apply(terraform: Terraform, arguments: list[str], console: Console) -> float:
    started = time.perf_counter()
    _run_with_progress(terraform, "apply", ["-auto-approve", "-input=false", *arguments], console)
    return time.perf_counter() - started


def _run_with_progress(terraform: Terraform, command: str, arguments: list[str], console: Console) -> None:
    """Runs apply or destroy, with a bar that counts the changes."""
    columns = (
        TextColumn(f"terraform {command}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def on_event(event: dict[str, Any]) -> None:
            match event.get("type"):
                case "planned_change":
                    progress.update(task, total=(progress.tasks[0].total or 0) + 1)
                case "apply_start":
                    progress.update(task, description=event["hook"]["resource"]["addr"])
                case "apply_complete":
                    progress.advance(task)

        terraform.stream(command, *arguments, on_event=on_event)


def use_running_local_aws(deployment: Deployment) -> None:
    """Starts local AWS where it does not run, and forgets a state whose resources went with a reset of it."""
    running = local_aws.up(deployment.port)
    if _state_is_stale(deployment):
        _forget_state(deployment)
    _identity_file(deployment).parent.mkdir(parents=True, exist_ok=True)
    _identity_file(deployment).write_text(json.dumps({"local_aws_id": running.id}))


def _identity_file(deployment: Deployment) -> Path:
    return deployment.project.terraform / "terraform.tfstate.d" / deployment.workspace / "local_aws.json"


def _state_is_stale(deployment: Deployment) -> bool:
    """Whether Terraform's state tells of what local AWS has no more, as after a reset."""
    try:
        known: str = json.loads(_identity_file(deployment).read_text())["local_aws_id"]
    except (OSError, ValueError, KeyError):
        return _identity_file(deployment).parent.exists()
    return local_aws.identity(deployment.port) != known


def _forget_state(deployment: Deployment) -> None:
    shutil.rmtree(_identity_file(deployment).parent, ignore_errors=True)
