"""The whole line on one machine: train, build, local AWS, `terraform apply`, photos through the Lambda."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from whippet import deployment as deployments
from whippet.deployment import Deployment
from whippet.errors import WhippetError
from whippet.local import control as local_aws
from whippet.local.settings import DEFAULT_PORT
from whippet.predict import Answer, ask
from whippet.project import Project
from whippet.training import run_training

#: How many answers the table shows; the figures are over every photo of the test split.
SHOWN = 12


@dataclass(frozen=True)
class Example:
    """A photo of the test split.

    Attributes:
        photo: the file.
        label: its true class.
        model_label: the class that the trained model itself gave it.
    """

    photo: Path
    label: str
    model_label: str


def run(project: Project, data: Path | None, port: int, console: Console) -> dict[str, Any]:
    """Runs everything, prints what came out, and writes `build/demo/report.json`.

    Args:
        project: the checkout.
        data: a folder of photos, or None for the built-in sample set.
        port: the port of local AWS.
        console: where the story goes.

    Returns:
        The report: seconds, images and accuracies of training; seconds and resources of Terraform, and what its second
        plan says; number, accuracy and milliseconds of the predictions. Every figure is measured.

    Raises:
        WhippetError: a step failed; its text says what to do.
    """
    started = time.perf_counter()
    folder = project.build / "demo"
    folder.mkdir(parents=True, exist_ok=True)

    if data is None:
        data = project.build / "sample"
        console.rule("[bold]1  Draw the sample set", align="left")
        _training("whippet_training.data", "sample", str(data))
    console.rule(f"[bold]2  Train on {data}", align="left")
    train_started = time.perf_counter()
    _training("whippet_training.train", str(data), "--out", str(folder / "run"))
    train_seconds = time.perf_counter() - train_started
    metrics = json.loads((folder / "run" / "metrics.json").read_text())

    console.rule("[bold]3  Deploy to local AWS with Terraform", align="left")
    deployment = Deployment(project, "local", port)
    model = folder / "run" / "model.tar.gz"
    with stopped_when_interrupted(port):
        apply_seconds = deployments.deploy(deployment, model, lambda plan: True, console)
        plan = deployments.second_plan(deployment, model)
        resources = len(deployment.terraform.resources())
        console.print(f"{resources} resources in {apply_seconds:.1f} s; the second plan says: {plan}")

        console.rule("[bold]4  Ask the Lambda about every photo of the test split", align="left")
        examples = read_examples(folder / "run" / "predictions.json", data)
        answers = ask_all(deployment, examples, console)
    console.print(answers_table(examples, answers))
    report = {
        "train": {
            "seconds": round(train_seconds, 2),
            "images": sum(metrics["data"]["images"].values()),
            "top1_valid": metrics["valid"]["top1"],
            "top1_test": metrics["test"]["top1"],
        },
        "terraform": {"apply_seconds": round(apply_seconds, 2), "resources": resources, "second_plan": plan},
        "predict": summarise(examples, answers),
        "total_seconds": round(time.perf_counter() - started, 2),
    }
    write_report(folder / "report.json", report)
    _tell(console, report, deployment, folder, examples[0].photo)
    return report


@contextmanager
def stopped_when_interrupted(port: int) -> Iterator[None]:
    """Stops local AWS when the demo is interrupted, unless it ran before; after a failure it stays, to be looked at."""
    ran_before = local_aws.status(port) is not None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if not ran_before:
            local_aws.down(port)
        raise


def read_examples(predictions: Path, data: Path) -> list[Example]:
    """The test split with the trained model's own answers, from the run folder's `predictions.json`."""
    return [
        Example(data / item["file"], item["label"], item["predictions"][0]["label"])
        for item in json.loads(predictions.read_text())["photos"]
    ]


def ask_all(deployment: Deployment, examples: list[Example], console: Console) -> list[Answer]:
    """Asks the Lambda about each photo, one after the other."""
    client, name = deployment.client("lambda"), deployment.outputs["lambda_function_name"]
    progress = track(examples, "asking", console=console, transient=True, disable=not console.is_terminal)
    return [ask(client, name, example.photo.read_bytes(), top_k=3) for example in progress]


def summarise(examples: list[Example], answers: list[Answer]) -> dict[str, float | int]:
    """Number of photos, accuracy, agreement with the trained model, and the time a caller waits.

    Args:
        examples: the photos.
        answers: the Lambda's answer to each.

    Returns:
        `n`; `top1` and `agreement` as shares between 0 and 1, where a photo without a prediction counts as wrong;
        `p50_ms` and `p99_ms`, the percentiles of the time from call to answer.
    """
    pairs = list(zip(examples, answers, strict=True))
    percentiles = statistics.quantiles([answer.seconds * 1000 for answer in answers], n=100, method="inclusive")
    return {
        "n": len(pairs),
        "top1": round(sum(example.label == answer.label for example, answer in pairs) / len(pairs), 4),
        "agreement": round(sum(example.model_label == answer.label for example, answer in pairs) / len(pairs), 4),
        "p50_ms": round(percentiles[49], 2),
        "p99_ms": round(percentiles[98], 2),
    }


def answers_table(examples: list[Example], answers: list[Answer]) -> Table:
    """A few answers, evenly drawn from all: photo, true class, top 3 with scores, and time."""
    table = Table(Column("photo", overflow="ellipsis", no_wrap=True, max_width=28), "true class", "top 3", "ms")
    step = max(1, len(examples) // SHOWN)
    for example, answer in list(zip(examples, answers, strict=True))[::step][:SHOWN]:
        colour = "green" if answer.label == example.label else "red"
        told = ", ".join(f"{item.label} {item.score:.2f}" for item in answer.predictions)
        table.add_row(
            example.photo.name,
            example.label,
            f"[{colour}]{told or f'{answer.status}: {answer.detail}'}[/]",
            f"{answer.seconds * 1000:.0f}",
        )
    return table


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Writes the report whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=2) + "\n")
    temporary.replace(path)


def _training(module: str, *arguments: str) -> None:
    status = run_training(module, "whippet", arguments)
    if status != 0:
        raise WhippetError(f"{module} ended with exit code {status}; its last line says why.")


def _tell(console: Console, report: dict[str, Any], deployment: Deployment, folder: Path, photo: Path) -> None:
    predicted, trained, outputs = report["predict"], report["train"], deployment.outputs
    url, name = local_aws.url(deployment.port), outputs["lambda_function_name"]
    port = "" if deployment.port == DEFAULT_PORT else f" --port {deployment.port}"
    source = shlex.quote(str(photo))
    console.rule("[bold]What came out", align="left")
    console.print(
        f"The Lambda named the right class for {predicted['top1']:.1%} of {predicted['n']} photos it had never seen, "
        f"p50 {predicted['p50_ms']:.0f} ms, p99 {predicted['p99_ms']:.0f} ms; "
        f"it agrees with the trained model on {predicted['agreement']:.1%}.\n"
        f"Training took {trained['seconds']:.0f} s, terraform apply {report['terraform']['apply_seconds']:.0f} s, "
        f"everything {report['total_seconds']:.0f} s.\n"
        f"Report: {folder / 'report.json'}\nModel, metrics and plots: {folder / 'run'}\n"
    )
    commands = f"""\
Local AWS stays up at {url}. Ask it again:
  whippet predict {source}{port}
or with the clients you know:
  export AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION={outputs["region"]}
  base64 < {source} | tr -d '\\n' | sed 's/.*/{{"image":"&"}}/' > event.json
  aws lambda invoke --function-name {name} --payload fileb://event.json answer.json
  curl --user test:test --aws-sigv4 aws:amz:{outputs["region"]}:lambda --data @event.json \\
    {url}/2015-03-31/functions/{name}/invocations
Tear it down:
  whippet destroy --env local{port} && whippet local down{port}
(whippet is {Path(sys.executable).parent / "whippet"})"""
    console.print(commands, highlight=False, markup=False, soft_wrap=True)
