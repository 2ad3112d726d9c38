"""The `whippet` command: thin functions over the modules that do the work."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from whippet import __version__, deployment, project, tuning
from whippet.errors import WhippetError
from whippet.local import control as local_aws
from whippet.local.settings import DEFAULT_PORT
from whippet.predict import Answer, ask
from whippet.training import ask_training, run_training

errors = Console(stderr=True)
output = Console(width=None if sys.stdout.isatty() else 120)  # a file or a log has no width of its own


class WhippetGroup(TyperGroup):
    """Turns what a user can run into: one line on stderr and an exit code, never a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except WhippetError as error:
            fail(str(error))
        except (ClientError, BotoCoreError) as error:
            fail(f"AWS: {error}")
        except OSError as error:
            fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        except KeyboardInterrupt:
            errors.print("Interrupted.")
            raise typer.Exit(128 + signal.SIGINT) from None


def fail(message: str) -> NoReturn:
    """Prints the one line and ends the command."""
    errors.print(f"[bold red]error:[/] {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


app = typer.Typer(
    cls=WhippetGroup,
    name="whippet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train an image classifier, rehearse its deployment on local AWS, deploy it with Terraform.",
)
local = typer.Typer(no_args_is_help=True, help="Local AWS on 127.0.0.1: start, look at, empty, stop.")
data = typer.Typer(no_args_is_help=True, help="Draw the sample set; check a folder of photos.")
app.add_typer(local, name="local")
app.add_typer(data, name="data")

Environment = Annotated[str, typer.Option("--env", help="local, dev or prod: which envs/*.tfvars to use.")]
Port = Annotated[int, typer.Option(envvar="WHIPPET_PORT", help="The port of local AWS.", min=1, max=65535)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing an environment on AWS.")]

#: The training package has its own command line; what follows the command is handed to it as it is.
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def here() -> project.Project:
    """The checkout that the command works in."""
    return project.find_project(Path.cwd())


def deployed(environment: str, port: int) -> deployment.Deployment:
    """The environment that the command works on."""
    return deployment.Deployment(here(), environment, port)


def confirmation(yes: bool) -> Callable[[str], bool]:
    """A function that shows a plan and asks."""

    def confirm(plan: str) -> bool:
        output.print(plan, highlight=False, markup=False, soft_wrap=True)
        return yes or typer.confirm("Go ahead?")

    return confirm


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    """Handles what is common to all commands."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if show:
        output.print(__version__)
        raise typer.Exit


def pass_on(module: str, prog: str, arguments: list[str]) -> None:
    """Runs a command of the training package, and ends with its exit code if it fails."""
    if status := run_training(module, prog, arguments):
        raise typer.Exit(status)


@app.command(context_settings=PASS_THROUGH)
def train(ctx: typer.Context) -> None:
    """Train on a folder of photos, SPLIT/CLASS/* or CLASS/*; `whippet train --help` lists every flag.

    Without --out the run lies in build/run, and its model becomes build/model.tar.gz, which `whippet deploy` takes.

    Example: whippet train photos/
    """
    own_folder = any(argument.partition("=")[0] in ("--out", "--help") for argument in ctx.args)
    run = here().build / "run"
    pass_on("whippet_training.train", "whippet train", [*ctx.args, *([] if own_folder else ["--out", str(run)])])
    if not own_folder:
        keep_model(run / "model.tar.gz", here().model)
        errors.print(f"The model is in {here().model}: deploy it with `whippet deploy --env local`.", soft_wrap=True)


@app.command(context_settings=PASS_THROUGH)
def tune(
    ctx: typer.Context,
    on: Annotated[str, typer.Option(help="here, or sagemaker: as a tuning job.")] = "here",
    env: Environment = "local",
    bucket: Annotated[
        str | None, typer.Option(show_default="the environment's", help="Takes photos and results.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="ARN", show_default=False, help="Role that the jobs take.")
    ] = None,
    image: Annotated[str | None, typer.Option(show_default="AWS's PyTorch image", help="Of the jobs.")] = None,
    instance_type: Annotated[str, typer.Option(help="Of the jobs.")] = tuning.INSTANCE_TYPE,
    parallel: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 2,
    port: Port = DEFAULT_PORT,
    as_json: Json = False,
) -> None:
    """Search the hyperparameters that suit a folder of photos; `whippet tune --help` lists every flag.

    With --on sagemaker the search is a SageMaker tuning job; --env, --bucket, --role, --image, --instance-type and
    --parallel say where it runs.

    Example: whippet tune photos/ --on sagemaker --env dev --trials 20
    """
    if on not in ("here", "sagemaker"):
        raise WhippetError(f"There is no {on!r} to search on: choose here or sagemaker.")
    if on == "here" or "--help" in ctx.args:
        pass_on("whippet_training.tune", "whippet tune", [*ctx.args, *(["--json"] if as_json else [])])
        if "--help" in ctx.args:
            output.print(ctx.get_help(), markup=False, highlight=False)
        return
    wanted = ask_training("whippet_training.tune", "whippet tune", [*ctx.args, "--sagemaker-ranges"])
    if wanted is None:
        raise typer.Exit(1)
    place = tuning.find_place(deployed(env, port), bucket, role, image, instance_type)
    best = tuning.tune(place, wanted, parallel, errors)
    if as_json:
        output.print_json(json.dumps(dataclasses.asdict(best), default=str))
        return
    output.print(f"Best of {best.tuning_job}: {best.training_job}, objective {best.objective:.4f}", soft_wrap=True)
    output.print(f"Hyperparameters: {best.folder / 'best.yaml'}", soft_wrap=True)
    output.print(f"Model of {best.final_job}, trained with them: {best.model}", soft_wrap=True)


def keep_model(trained: Path, kept: Path) -> None:
    """Makes a trained model the one that `whippet deploy` takes, in one step."""
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        shutil.copyfile(trained, Path(folder, kept.name)).replace(kept)


@data.command(context_settings=PASS_THROUGH)
def sample(ctx: typer.Context) -> None:
    """Draw the built-in sample set.

    Example: whippet data sample build/sample
    """
    pass_on("whippet_training.data", "whippet data", ["sample", *ctx.args])


@data.command(context_settings=PASS_THROUGH)
def check(ctx: typer.Context) -> None:
    """Check a folder of photos and say what is wrong with it.

    Example: whippet data check photos/
    """
    pass_on("whippet_training.data", "whippet data", ["check", *ctx.args])


@local.command()
def up(
    port: Port = DEFAULT_PORT,
    speed: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=3600,
            show_default="1",
            help="Seconds of local AWS's clock in one of yours: cooldowns, alarms and bake times pass as much faster. "
            "One that runs changes its pace.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="1000",
            help="Lambda's concurrency quota of the account; a new one may have no more than 10.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start local AWS, with all that was in it when it ended.

    Example: whippet local up --speed 60
    """
    before = local_aws.status(port)
    running = local_aws.up(port, speed=speed, concurrency=concurrency)
    show_status(running, as_json, "Local AWS already runs" if before else "Local AWS runs")


@local.command()
def status(port: Port = DEFAULT_PORT, as_json: Json = False) -> None:
    """Say what runs in local AWS.

    Example: whippet local status --json
    """
    running = local_aws.status(port)
    if running is None:
        raise WhippetError(f"Local AWS does not run on port {port}: start it with `whippet local up`.")
    show_status(running, as_json, "Local AWS runs")


@local.command()
def reset(port: Port = DEFAULT_PORT, as_json: Json = False) -> None:
    """Empty local AWS: every resource and every process in it goes, and what it keeps on disk while it does not run.

    Example: whippet local reset
    """
    running = local_aws.reset(port)
    if running is not None:
        show_status(running, as_json, "Local AWS is empty")
    elif as_json:
        output.print_json("null")
    else:
        output.print(f"Local AWS is empty; it does not run on port {port}.")


@local.command()
def down(port: Port = DEFAULT_PORT) -> None:
    """Stop local AWS and every process in it; the next `up` brings everything back.

    Example: whippet local down
    """
    stopped = local_aws.down(port)
    output.print("Local AWS is stopped." if stopped else f"Local AWS does not run on port {port}.")


def show_status(running: local_aws.Status, as_json: bool, sentence: str) -> None:
    """Prints what runs, for people or for machines."""
    if as_json:
        output.print_json(json.dumps(dataclasses.asdict(running), default=str))
        return
    where = f"{running.url}, account {running.account}, region {running.region}, log {running.log}"
    output.print(f"{sentence}: {where}", soft_wrap=True)
    for endpoint in running.endpoints:
        output.print(f"  endpoint {endpoint.name}: {endpoint.status}, {len(endpoint.instances)} instance(s)")
    for function in running.functions:
        output.print(f"  function {function.name}: {function.busy} of {function.environments} environment(s) busy")
    for job in running.jobs:
        output.print(f"  training job {job.name}: {job.status}")
    pace = "" if running.speed == 1 else f", {running.speed:g} seconds of it in one of yours"
    output.print(f"  clock {running.now}{pace}")
    output.print(f"  state {running.state}, {running.state_bytes / 1e6:.1f} MB", soft_wrap=True)
    if running.notice:
        errors.print(f"[bold yellow]note:[/] {running.notice}", highlight=False, soft_wrap=True)
    output.print(f"Any AWS client reaches it with AWS_ENDPOINT_URL={running.url}")


@app.command()
def deploy(
    env: Environment = "local",
    model: Annotated[Path | None, typer.Option(show_default="build/model.tar.gz", help="The archive to serve.")] = None,
    port: Port = DEFAULT_PORT,
    yes: Yes = False,
) -> None:
    """Build, plan, apply and smoke-test an environment.

    Example: whippet deploy --env local
    """
    target = deployed(env, port)
    seconds = deployment.deploy(target, model or target.project.model, confirmation(yes), errors)
    output.print(f"{target.environment} is up: {len(target.terraform.resources())} resources in {seconds:.0f} s.")
    output.print(f"Ask it: whippet predict PHOTO --env {target.environment}")


@app.command()
def destroy(env: Environment = "local", port: Port = DEFAULT_PORT, yes: Yes = False) -> None:
    """Tear an environment down.

    Example: whippet destroy --env local
    """
    count = deployment.destroy(deployed(env, port), confirmation(yes), errors)
    output.print(f"{count} resources destroyed." if count else f"Nothing was deployed to {env}.")


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Pictures: JPEG, PNG or WebP.", show_default=False)],
    env: Environment = "local",
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    port: Port = DEFAULT_PORT,
    as_json: Json = False,
) -> None:
    """Ask the deployed Lambda what is in a photo.

    Example: whippet predict dog.jpg
    """
    for photo in photos:
        if not photo.is_file():
            raise WhippetError(f"There is no photo at {photo}.")
    target = deployed(env, port)
    client, function_name = target.client("lambda"), target.outputs["lambda_function_name"]
    answers = {photo: ask(client, function_name, photo.read_bytes(), top_k) for photo in photos}
    if as_json:
        output.print_json(json.dumps({str(photo): dataclasses.asdict(answer) for photo, answer in answers.items()}))
    else:
        output.print(answers_table(answers, top_k))
    if any(answer.label is None for answer in answers.values()):
        raise typer.Exit(1)


def answers_table(answers: dict[Path, Answer], top_k: int) -> Table:
    """One row a photo: the classes with their scores, or what went wrong, and the time."""
    table = Table("photo", f"top {top_k}", "ms")
    for photo, answer in answers.items():
        told = ", ".join(f"{item.label} {item.score:.2f}" for item in answer.predictions)
        table.add_row(photo.name, told or f"{answer.status}: {answer.detail}", f"{answer.seconds * 1000:.0f}")
    return table


@app.command()
def demo(
    photos: Annotated[
        Path | None, typer.Option("--data", show_default="the built-in sample set", help="A folder of photos.")
    ] = None,
    port: Port = DEFAULT_PORT,
) -> None:
    """Run the whole line on this machine and leave it up.

    Example: whippet demo --data photos/
    """
    from whippet import demo as whole_line

    whole_line.run(here(), photos, port, output)


if __name__ == "__main__":
    app()
