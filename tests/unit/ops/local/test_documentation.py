"""docs/local-aws.md tells of every operation that local AWS answers itself, and of nothing that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from whippet.cli import app
from whippet.local.calls import service_model

PAGE = Path(__file__).parents[4] / "docs" / "local-aws.md"
COLUMNS = ("Operation", "Real", "Recorded only", "Differs from AWS")

_HEADING = re.compile(r"#{1,6} .*")
_SERVICE = re.compile(r"`(?P<service>[a-z0-9-]+)`")
_OPERATION = re.compile(r"`(?P<name>\w+)`(?P<by_moto> \(moto\))?")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_COMMAND = re.compile(r"`(?P<command>whippet [^`]+)`")


class Entry(NamedTuple):
    """An operation that a table names.

    Attributes:
        service: botocore's name of the service.
        operation: botocore's name of the operation.
        is_by_moto: whether the table says that moto alone answers.
    """

    service: str
    operation: str
    is_by_moto: bool


def rows() -> Iterator[tuple[str, list[str]]]:
    """The rows of the tables of operations: the service that the heading names, and the cells."""
    service = ""
    columns: tuple[str, ...] = ()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if _HEADING.fullmatch(line):
            named = _SERVICE.search(line)
            service = named["service"] if named else ""
        if not line.startswith("|"):
            columns = ()
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = tuple(cells)
        elif columns[0] == COLUMNS[0] and set(cells) != {"---"}:
            assert columns == COLUMNS, f"the table under `{service}` has the columns {columns}"
            yield service, cells


ENTRIES = [
    Entry(service, found["name"], found["by_moto"] is not None)
    for service, cells in rows()
    for found in _OPERATION.finditer(cells[0])
]


@pytest.fixture
def handled(running: Any) -> set[tuple[str, str]]:
    """The services and operations that local AWS answers itself."""
    return set(running.gateway._handlers)


def test_every_row_fills_every_column() -> None:
    for service, cells in rows():
        assert len(cells) == len(COLUMNS), f"{service}: the row of {cells[0]} has {len(cells)} cells"
        assert all(cells), f"{service}: the row of {cells[0]} has an empty cell; write – for nothing"
        assert _OPERATION.sub("", cells[0]).strip(" ,") == "", f"{service}: {cells[0]} is no list of operations"


def test_every_operation_stands_in_one_row() -> None:
    named = [(entry.service, entry.operation) for entry in ENTRIES]
    repeated = sorted({one for one in named if named.count(one) > 1})
    assert not repeated, f"take all but one of the rows of {repeated} out of {PAGE.name}"


def test_every_operation_is_one_of_the_service() -> None:
    for service, operation, _ in ENTRIES:
        model = service_model(service)
        assert model is not None, f"the heading above {operation} names no boto3 client: {service!r}"
        assert operation in model.operation_names, f"boto3's {service} has no operation {operation}"


def test_every_operation_that_is_answered_here_has_a_row(handled: set[tuple[str, str]]) -> None:
    missing = sorted(handled - {(entry.service, entry.operation) for entry in ENTRIES})
    assert not missing, "\n".join(
        [f"{PAGE.name} lacks rows. Add, with the cells filled, under a heading of the client:"]
        + [f"  {service}: | `{operation}` | … | … | … |" for service, operation in missing]
    )


def test_moto_is_named_where_it_alone_answers(handled: set[tuple[str, str]]) -> None:
    wrong = [
        f"  {service}: write `{operation}`{'' if is_by_moto else ' (moto)'}"
        for service, operation, is_by_moto in ENTRIES
        if ((service, operation) in handled) == is_by_moto
    ]
    assert not wrong, "\n".join([f"{PAGE.name} is wrong about who answers:", *wrong])


def test_every_link_leads_to_a_file() -> None:
    targets = [found["target"] for found in _LINK.finditer(PAGE.read_text(encoding="utf-8"))]
    relative = [target for target in targets if "://" not in target]
    assert relative
    for target in relative:
        assert (PAGE.parent / target.partition("#")[0]).is_file(), f"{target} does not exist"


def test_every_command_is_one_of_the_cli() -> None:
    commands = {found["command"] for found in _COMMAND.finditer(PAGE.read_text(encoding="utf-8"))}
    assert commands
    for command in commands:
        words, *options = re.split(" (?=--)", command.removeprefix("whippet "))
        shown = CliRunner().invoke(app, [*words.split(), "--help"])
        assert shown.exit_code == 0, f"there is no `{command}`"
        for option in options:
            assert option.split()[0] in shown.output, f"`{command}`: there is no such option"
