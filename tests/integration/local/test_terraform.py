"""The project's own Terraform against local AWS, with this project's server behind the endpoint."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from support.stack import pack
from whippet.local import control


def green_photo() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (60, 50), (10, 200, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_apply_plans_clean_updates_in_place_and_destroys(
    daemon: Any, stack: Any, tiny_model: Path, tmp_path: Path
) -> None:
    stack.run("apply", "-auto-approve")
    assert stack.changes() == ""

    outputs = stack.terraform.output()
    runtime = daemon.client("sagemaker-runtime")

    def predicted() -> dict[str, Any]:
        answer = runtime.invoke_endpoint(
            EndpointName=outputs["endpoint_name"], Body=green_photo(), ContentType="image/jpeg"
        )
        prediction: dict[str, Any] = json.loads(answer["Body"].read())
        return prediction

    first = predicted()
    assert first["predictions"][0]["label"] == "green"

    # another model: the endpoint changes, it is not replaced
    changed = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    document = json.loads((changed / "model.json").read_text())
    (changed / "model.json").write_text(json.dumps(document | {"id": "ba9876543210"}))
    stack.variables["model_archive"] = str(pack(changed, tmp_path / "changed.tar.gz"))
    created = daemon.client("sagemaker").describe_endpoint(EndpointName=outputs["endpoint_name"])["CreationTime"]
    stack.run("apply", "-auto-approve")
    described = daemon.client("sagemaker").describe_endpoint(EndpointName=outputs["endpoint_name"])
    assert described["CreationTime"] == created
    assert predicted()["model"]["id"] == "ba9876543210"
    assert stack.changes() == ""

    stack.run("destroy", "-auto-approve")
    assert stack.terraform.resources() == []
    status = control.status(daemon.port)
    assert status is not None
    assert (status.endpoints, status.functions) == ((), ())
    assert daemon.client("logs").describe_log_groups()["logGroups"] == []
    assert daemon.client("s3").list_buckets()["Buckets"] == []
    assert "Traceback" not in status.log.read_text()
