"""code/inference.py inside AWS's own sagemaker-inference and sagemaker-pytorch-inference packages."""

from __future__ import annotations

import ast
import base64
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.photos import encode, jpeg
from whippet_training import inference

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-stock" / "bin" / "python"
GREEN = (10, 200, 30)


class Container:
    """A worker of the container, with a packed archive in it."""

    def __init__(self, model: Path, engine: str, home: Path) -> None:
        assert PYTHON.exists(), "make .venv-stock/.installed makes the environment with AWS's packages"
        environment = {
            "PATH": "",  # no pip, and nothing else to start
            "HOME": str(home),
            "PYTHONPATH": str(model / "code"),  # by which the container finds the hooks
            "WHIPPET_ENGINE": engine,
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [PYTHON, ROOT / "tests" / "support" / "stock_container.py", model],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=home,
        )

    def ask(self, body: bytes, content_type: str, **headers: str) -> tuple[int, str, Any]:
        """Status, content type and decoded body of the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "headers": {"Content-Type": content_type, **headers},
            "body": base64.b64encode(body).decode(),
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "Traceback" not in answer["body"]
        return answer["status"], answer["content_type"], json.loads(answer["body"])

    def end(self) -> list[str]:
        """What the process tried to start or to reach."""
        told, _ = self.process.communicate(timeout=60)
        tried: list[str] = json.loads(told.splitlines()[-1])
        return tried


Run = Callable[[str], Container]


@pytest.fixture(scope="module")
def model(tiny_model_with_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that was packed and unpacked."""
    folder = tmp_path_factory.mktemp("stock")
    made = Path(shutil.copytree(tiny_model_with_onnx, folder / "made"))
    (made / "code").mkdir()
    shutil.copyfile(inference.__file__, made / "code" / "inference.py")
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(made, ".")
    with tarfile.open(folder / "model.tar.gz") as archive:
        archive.extractall(folder / "model", filter="data")
    return folder / "model"


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    containers: list[Container] = []

    def run_container(engine: str) -> Container:
        containers.append(Container(model, engine, tmp_path_factory.mktemp("home")))
        return containers[-1]

    yield run_container
    for container in containers:
        if container.process.poll() is None:
            container.process.kill()
            container.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def container(run: Run, model: Path) -> Iterator[Container]:
    """The container as it is shipped, with PyTorch alone; it must start nothing and reach for nothing."""
    assert not (model / "code" / "requirements.txt").exists()  # which the container would give to pip
    started = run("torch")
    yield started
    assert started.end() == []
    assert started.process.returncode == 0


@pytest.mark.parametrize(
    ("kind", "content_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp; quality=1")]
)
def test_answers_for_photos(container: Container, kind: str, content_type: str) -> None:
    status, answered_type, answer = container.ask(encode(Image.new("RGB", (50, 40), GREEN), kind), content_type)

    assert (status, answered_type) == (200, "application/json")
    assert answer["predictions"][0]["label"] == "green"
    assert len(answer["predictions"]) == 3
    assert answer["model"] == {"id": "0123456789ab", "name": "mean-colour", "backbone": "none"}


def test_answers_for_json(container: Container) -> None:
    body = json.dumps({"image": base64.b64encode(jpeg(GREEN)).decode(), "top_k": 2}).encode()

    status, _, answer = container.ask(body, "application/json", Accept="application/json")

    assert status == 200
    assert len(answer["predictions"]) == 2


def test_takes_top_k_of_each_request_from_its_custom_attributes(container: Container) -> None:
    counts = []
    name = "X-Amzn-SageMaker-Custom-Attributes"
    for headers in ({name: "top_k=1"}, {}, {name.lower(): "a=b;top_k=2"}):
        _, _, answer = container.ask(jpeg(GREEN), "image/jpeg", **headers)
        counts.append(len(answer["predictions"]))

    assert counts == [1, 3, 2]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"GIF89a", "image/gif", 415),
        (b"hello", "image/jpeg", 415),
        (b"a,b", "text/csv", 415),
        (jpeg(GREEN, (300, 300))[:-200], "image/jpeg", 422),
        (b"", "image/jpeg", 400),
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"image": "\xff"}', "application/json", 400),
        (b"\xff", "text/csv", 415),
        (b'{"image": "%"}', "application/json", 400),
        (b'{"image": 1}', "application/json", 400),
        (b'["image"]', "application/json", 400),
    ],
)
def test_a_bad_request_is_a_problem_document_with_its_status_and_no_traceback(
    container: Container, body: bytes, content_type: str, status: int
) -> None:
    answered, answered_type, problem = container.ask(body, content_type)

    assert (answered, problem["status"]) == (status, status)
    assert answered_type == "application/problem+json"
    assert str(ROOT) not in json.dumps(problem)
    assert container.ask(jpeg(GREEN), "image/jpeg")[0] == 200


@pytest.mark.parametrize("attributes", ["top_k=0", "top_k=many", "top_k="])
def test_a_top_k_that_is_no_number_from_1_is_refused(container: Container, attributes: str) -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": attributes}

    assert container.ask(jpeg(GREEN), "image/jpeg", **headers)[0] == 400


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_answers_where_more_than_pytorch_is_installed(run: Run, engine: str) -> None:
    other = run(engine)

    assert other.ask(jpeg(GREEN), "image/jpeg")[2]["predictions"][0]["label"] == "green"
    assert other.end() == []


def test_the_hooks_are_written_for_the_containers_python() -> None:
    ast.parse(Path(inference.__file__).read_text("utf-8"), feature_version=(3, 10))
