"""The commands about data: ``python -m whippet_training.data sample|check``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whippet_training.check import Finding, check
from whippet_training.console import exit_on_sigterm, failures_told, program, progress
from whippet_training.dataset import read_dataset
from whippet_training.sample import ANIMALS, draw_sample, pictures

SHOWN = 5
"""Findings of a kind that are listed; --all and --json list every one."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Draw the built-in sample set; check a folder of photos.",
)


@app.command("sample", epilog="Example: whippet data sample build/sample")
def sample_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Receives SPLIT/CLASS/*.jpg.")],
) -> None:
    """Draws the built-in sample set: eight animals, 80 pictures each, always the same."""
    with failures_told(), progress("drawing", len(pictures())) as advance:
        drawn = draw_sample(folder, advance)
    told = f"{len(pictures())} pictures of {len(ANIMALS)} animals in {folder}"
    sys.stdout.write(f"Drew {told}\n" if drawn else f"Nothing to do: {told}\n")


@app.command("check", epilog="Example: whippet data check photos")
def check_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Photos as SPLIT/CLASS/* or CLASS/*.")],
    everything: Annotated[bool, typer.Option("--all", help="List every finding.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding as JSON.")] = False,
) -> None:
    """Says what is wrong with a folder of photos; ends with 1 if there are errors, warnings alone end with 0."""
    with failures_told():
        dataset = read_dataset(folder)
        with progress("checking", len(dataset.photos)) as advance:
            findings = check(dataset, advance)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        report = {
            "photos": len(dataset.photos),
            "classes": len({label for _, label in dataset.class_folders}),
            "errors": errors,
            "warnings": len(findings) - errors,
            "findings": [asdict(finding) for finding in findings],
        }
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        if findings:
            console.print(_table(findings, len(findings) if everything else SHOWN))
        classes = len({label for _, label in dataset.class_folders})
        console.print(
            f"{len(dataset.photos)} photos of {classes} classes: {errors} errors, {len(findings) - errors} warnings"
        )
    if errors:
        raise typer.Exit(1)


def _table(findings: list[Finding], shown: int) -> Table:
    by_kind: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.severity, finding.kind].append(finding)
    table = Table("", "what", "count", "where")
    for (severity, kind), group in by_kind.items():
        lines = [f"{one.subject}: {one.detail}" if one.detail else one.subject for one in group[:shown]]
        if len(group) > shown:
            lines.append(f"and {len(group) - shown} more: --all lists them")
        colour = "red" if severity == "error" else "yellow"
        table.add_row(f"[{colour}]{severity}[/]", kind, str(len(group)), "\n".join(lines).replace("[", r"\["))
    return table


if __name__ == "__main__":
    exit_on_sigterm()
    app(prog_name=program("python -m whippet_training.data"))
