"""Writes what the documentation says of the Terraform code from the code itself; --check says whether it is up to date.

- the inputs, outputs and resources in each module's README and in docs/terraform.md
- the permissions in docs/permissions.md, from a plan of everything that can be switched on
- the checks of checkov that are skipped, with their reasons, in docs/security.md
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hcl2
from moto.server import ThreadedMotoServer

from whippet.terraform import Terraform

ROOT = Path(__file__).resolve().parents[1]
TERRAFORM = ROOT / "terraform"
#: A part of a page between a line that begins it and one that ends it, whose names are the same.
PART = "<!-- BEGIN {0}: `make docs` writes this -->\n{1}<!-- END {0} -->"
SKIP = re.compile(r"#\s*checkov:skip=(?P<check>CKV\w+):\s*(?P<reason>.+)")
#: What a policy lets happen: who, what, on what, and on which condition.
Permission = tuple[str, str, str, str]


def interface(folder: Path) -> str:
    """The inputs, outputs and resources of a module, as Markdown."""
    blocks: dict[str, list[Any]] = {"variable": [], "output": [], "resource": []}
    for path in sorted(folder.glob("*.tf")):
        parsed = hcl2.loads(path.read_text())
        for kind, found in blocks.items():
            found += parsed.get(kind, [])
    variables = {_text(name): body for block in blocks["variable"] for name, body in block.items()}
    outputs = {_text(name): body for block in blocks["output"] for name, body in block.items()}
    resources = sorted({_text(kind) for block in blocks["resource"] for kind in block})
    rows = [
        (f"`{name}`", _text(body["description"]), f"`{_code(body['type'])}`", _default(body))
        for name, body in sorted(variables.items(), key=lambda item: ("default" in item[1], item[0]))
    ]
    parts = [
        "### Inputs\n\n" + _table(("name", "description", "type", "default"), rows),
        "### Outputs\n\n"
        + _table(
            ("name", "description"),
            [(f"`{name}`", _text(body["description"])) for name, body in sorted(outputs.items())],
        ),
    ]
    if resources:
        parts.append("### Resources\n\n" + ", ".join(f"`{kind}`" for kind in resources) + "\n")
    return "\n" + "\n".join(parts) + "\n"


def permissions(plan: Mapping[str, Any]) -> tuple[list[Permission], list[Permission], list[Permission]]:
    """What a plan lets happen: what roles may do, who may take them, and what resources let others do.

    Args:
        plan: as `terraform show -json` tells it.

    Raises:
        ValueError: a policy is only known after apply.
    """
    roles: list[Permission] = []
    trusts: list[Permission] = []
    resources: list[Permission] = []
    for change in plan["resource_changes"]:
        if change["mode"] != "managed":
            continue
        values, address, kind = change["change"]["after"], change["address"], change["type"]
        match kind:
            case "aws_iam_role":
                trusts += _allowed(address, values["name"], values.get("assume_role_policy"))
            case "aws_iam_role_policy":
                roles += _allowed(address, values.get("role") or "", values.get("policy"))
            case "aws_iam_policy":
                roles += _allowed(address, _attached(address, plan), values.get("policy"))
            case "aws_s3_bucket_policy":
                resources += _allowed(address, values.get("bucket") or address, values.get("policy"))
            case "aws_kms_key" | "aws_sns_topic_policy" | "aws_sqs_queue_policy":
                resources += _allowed(address, address, values.get("policy"))
            case "aws_lambda_permission":
                who = f"{values['principal']} {values.get('function_url_auth_type') or ''}".strip()
                resources.append((address, values["action"], values.get("function_name") or address, who))
    return sorted(set(roles)), sorted(set(trusts)), sorted(set(resources))


def _attached(address: str, plan: Mapping[str, Any]) -> str:
    """The role that has a managed policy: that of the attachment with the policy's own name and index."""
    attachment = address.replace("aws_iam_policy.", "aws_iam_role_policy_attachment.")
    for change in plan["resource_changes"]:
        if change["address"] == attachment:
            return str(change["change"]["after"]["role"])
    raise ValueError(f"{address}: no {attachment} says whose policy it is")


def permission_tables(plan: Mapping[str, Any]) -> str:
    """docs/permissions.md's tables."""
    roles, trusts, resources = permissions(plan)
    return "\n".join(
        [
            "\n## What roles may do\n",
            _table(("role", "action", "resource", "condition"), [tuple(map(_coded, row)) for row in roles]),
            "## Who may take a role\n",
            _table(
                ("role", "action", "who", "condition"),
                [tuple(map(_coded, row)) for row in trusts],
            ),
            "## What resources let others do\n",
            _table(("resource", "action", "on", "who and condition"), [tuple(map(_coded, row)) for row in resources]),
        ]
    )


def skipped_checks() -> str:
    """docs/security.md's table of the checks of checkov that are skipped."""
    rows = [
        (f"`{path.relative_to(TERRAFORM)}`", found["check"], found["reason"].strip())
        for path in sorted(TERRAFORM.rglob("*.tf"))
        if ".terraform" not in path.parts
        for found in SKIP.finditer(path.read_text())
    ]
    return "\n" + _table(("where", "check", "reason"), rows)


@contextmanager
def planned_everything() -> Iterator[dict[str, Any]]:
    """A plan of prod with all that can be switched on, against an AWS that only says who asks."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / "terraform"
            shutil.copytree(TERRAFORM, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfstate.d"))
            terraform = Terraform(copy)
            terraform.init()
            host, port = server.get_host_and_port()
            files = [f"-var-file={file}" for file in ("envs/prod.tfvars", "tests/fixtures/everything.tfvars")]
            url = f"local_aws_url=http://{host}:{port}"
            terraform.run("plan", "-input=false", "-out=plan", *files, "-var", url)
            yield json.loads(terraform.run("show", "-json", "plan").stdout)
    finally:
        server.stop()


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page that has a written part: the page, the part's name, and what it is to hold."""
    for folder in sorted(path.parent for path in (TERRAFORM / "modules").glob("*/versions.tf")):
        yield folder / "README.md", "INTERFACE", interface(folder)
    yield ROOT / "docs" / "terraform.md", "INTERFACE", interface(TERRAFORM)
    yield ROOT / "docs" / "security.md", "SKIPPED CHECKS", skipped_checks()
    with planned_everything() as plan:
        yield ROOT / "docs" / "permissions.md", "PERMISSIONS", permission_tables(plan)


def rewritten(page: str, name: str, part: str) -> str:
    """A page with one of its parts written anew.

    Raises:
        ValueError: it has no such part.
    """
    begin, end = PART.format(name, "\0").split("\0")
    before, found, rest = page.partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise ValueError(f"has no part {name}: add the lines {begin.strip()} and {end}")
    return before + PART.format(name, part) + after


def main() -> int:
    """Writes or checks the pages; 0 where all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something is out of date")
    check = parser.parse_args().check
    stale = []
    for path, name, part in pages():
        page = path.read_text()
        try:
            wanted = rewritten(page, name, part)
        except ValueError as error:
            sys.exit(f"{path.relative_to(ROOT)} {error}")
        if wanted != page:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(wanted)
    if check and stale:
        sys.exit(f"Out of date: {', '.join(stale)}. Run `make docs`, and look at what it changes.")
    print("\n".join(f"wrote {path}" for path in stale) or "up to date")
    return 0


def _allowed(address: str, name: str, policy: str | None) -> Iterator[Permission]:
    if policy is None:
        raise ValueError(f"{address}: its policy is only known after apply; build the ARNs in it from names")
    statements = json.loads(policy)["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement["Effect"] != "Allow":
            continue
        conditions = [
            f"{operator} {key} = {', '.join(_list(value))}"
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
        ]
        who = [f"{kind}: {one}" for kind, ones in _principals(statement) for one in _list(ones)]
        condition = "; ".join([*([", ".join(who)] if "Resource" in statement and who else []), *conditions])
        for action in _list(statement["Action"]):
            for resource in _list(statement.get("Resource", ", ".join(who))):
                yield name, action, resource, condition


def _principals(statement: Mapping[str, Any]) -> list[tuple[str, Any]]:
    principal = statement.get("Principal", {})
    return [("anyone", principal)] if isinstance(principal, str) else list(principal.items())


def _list(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _coded(text: str) -> str:
    return f"`{text}`" if text else ""


def _text(value: str) -> str:
    """What a quoted string says, on one line."""
    value = value.strip()
    if heredoc := re.fullmatch(r'"?<<-?(\w+)\n(?P<body>.*)\n\s*\1"?', value, re.DOTALL):
        value = heredoc["body"]
    elif value.startswith('"'):
        value = json.loads(value)
    return " ".join(value.split())


def _code(value: Any) -> str:
    """An expression as it is written."""
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        value = value[2:-1]
    return " ".join(str(value).split())


def _default(body: Mapping[str, Any]) -> str:
    if "default" not in body:
        return "required"
    return f"`{_literal(body['default'])}`"


def _literal(value: Any) -> str:
    """A value as Terraform writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            pairs = [f"{_text(key)} = {_literal(one)}" for key, one in value.items() if not key.startswith("__")]
            return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
        case _:
            return _code(value)


if __name__ == "__main__":
    sys.exit(main())
