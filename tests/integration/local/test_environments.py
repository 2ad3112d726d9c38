"""The environments as a platform team has them: prod with all that can be switched on, and dev beside it."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from support.stack import Stack, pack
from whippet.local import control


def ask(daemon: Any, stack: Stack) -> dict[str, Any]:
    """What the deployment's Lambda says of a green photo."""
    buffer = BytesIO()
    Image.new("RGB", (60, 50), (10, 200, 30)).save(buffer, "JPEG")
    event = {"image": base64.b64encode(buffer.getvalue()).decode()}
    arn = stack.terraform.output()["lambda_alias_arn"]
    answer = daemon.client("lambda").invoke(FunctionName=arn, Payload=json.dumps(event).encode())
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    assert payload["statusCode"] == 200, payload
    body: dict[str, Any] = json.loads(payload["body"])
    return body


def test_prod_with_everything_and_dev_live_side_by_side(
    daemon: Any, stack: Stack, tiny_model: Path, tmp_path: Path
) -> None:
    archives = stack.variables["lambda_zip"]
    model = pack(tiny_model, tmp_path / "another.tar.gz")
    dev = Stack(tmp_path / "dev", daemon.port, model, Path(archives), "dev")
    dev.variables["artifacts_retention_days"] = "null"
    prod = Stack(tmp_path / "prod", daemon.port, model, Path(archives), "prod", ["tests/fixtures/everything.tfvars"])
    prod.variables["artifacts_force_destroy"] = "true"

    dev.run("apply", "-auto-approve")
    prod.run("apply", "-auto-approve")
    assert (prod.changes(), dev.changes()) == ("", "")
    assert [ask(daemon, one)["predictions"][0]["label"] for one in (prod, dev)] == ["green", "green"]

    dev.run("destroy", "-auto-approve")
    assert dev.terraform.resources() == []
    assert ask(daemon, prod)["predictions"][0]["label"] == "green"
    assert prod.changes() == ""

    prod.run("destroy", "-auto-approve")
    assert prod.terraform.resources() == []
    status = control.status(daemon.port)
    assert status is not None
    assert (status.endpoints, status.functions) == ((), ())
    assert daemon.client("s3").list_buckets()["Buckets"] == []
    roles = daemon.client("iam").list_roles()["Roles"]
    assert [role["RoleName"] for role in roles if not role["Path"].startswith("/aws-service-role/")] == []
    assert "Traceback" not in status.log.read_text()
