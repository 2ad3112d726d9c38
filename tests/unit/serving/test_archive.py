from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from whippet_serving.archive import ModelError, open_archive


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_reads_an_unpacked_archive(tiny_model: Path) -> None:
    with open_archive(tiny_model) as archive:
        assert archive.folder == tiny_model
        assert archive.classes == ("red", "green", "blue")
        assert archive.preprocessing.mean == (0.5, 0.4, 0.3)
        assert archive.weights_file("openvino") == tiny_model / "model.xml"


def test_unpacks_an_archive_and_deletes_it_afterwards(
    tiny_model: Path, pack: Callable[[Path], Path], temporary_files: Path
) -> None:
    with open_archive(pack(tiny_model)) as archive:
        assert archive.name == "mean-colour"
        assert archive.weights_file("torchscript").read_bytes() == (tiny_model / "model.pt").read_bytes()
        assert list(temporary_files.iterdir()) == [archive.folder]
    assert not list(temporary_files.iterdir())


def test_leaves_nothing_of_an_archive_that_it_refuses(
    model_copy: Path, pack: Callable[[Path], Path], temporary_files: Path
) -> None:
    (model_copy / "model.json").unlink()

    with pytest.raises(ModelError, match=r"no model\.json"), open_archive(pack(model_copy)):
        pass

    assert not list(temporary_files.iterdir())


def test_says_where_it_looked_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match=f"no model at {tmp_path / 'model.tar.gz'}"),
        open_archive(tmp_path / "model.tar.gz"),
    ):
        pass


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: b"not gzip", lambda content: content[: len(content) // 2]],
    ids=["empty", "not gzip", "cut short"],
)
def test_refuses_a_damaged_archive(
    tiny_model: Path, pack: Callable[[Path], Path], damage: Callable[[bytes], bytes]
) -> None:
    path = pack(tiny_model)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ModelError, match=r"model\.tar\.gz") as refusal, open_archive(path):
        pass

    assert "\n" not in str(refusal.value)


def test_refuses_an_archive_that_unpacks_to_too_much(tiny_model: Path, pack: Callable[[Path], Path]) -> None:
    with pytest.raises(ModelError, match="more than 1000 bytes"), open_archive(pack(tiny_model), max_bytes=1000):
        pass


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/whippet-outside.txt"])
def test_never_unpacks_outside_its_folder(tmp_path: Path, temporary_files: Path, name: str) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))

    with pytest.raises(ModelError), open_archive(path):
        pass

    assert not list(tmp_path.rglob("outside.txt"))
    assert not Path("/tmp/whippet-outside.txt").exists()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"schema_version": 2}, r"\$\.schema_version"),
        ({"classes": ["only"]}, r"\$\.classes"),
        ({"classes": ["same", "same"]}, r"\$\.classes"),
        ({"weights": {}}, r"\$\.weights"),
        ({"weights": {"openvino": "../model.xml"}}, r"\$\.weights\.openvino"),
        ({"preprocessing": {"resize": 36}}, r"\$\.preprocessing"),
    ],
)
def test_says_what_in_model_json_breaks_the_schema(model_copy: Path, fields: dict[str, Any], place: str) -> None:
    rewrite(model_copy, **fields)

    with pytest.raises(ModelError, match=place) as refusal, open_archive(model_copy):
        pass

    assert "\n" not in str(refusal.value)


def test_refuses_a_model_json_that_is_not_json(model_copy: Path) -> None:
    (model_copy / "model.json").write_text("{")

    with pytest.raises(ModelError, match=r"cannot read model\.json"), open_archive(model_copy):
        pass


def test_says_which_weights_are_missing(model_copy: Path) -> None:
    (model_copy / "model.pt").unlink()

    with open_archive(model_copy) as archive, pytest.raises(ModelError, match=r"model\.pt"):
        archive.weights_file("torchscript")


def test_holds_the_same_schema_as_training() -> None:
    training = pytest.importorskip("whippet_training")

    assert (
        resources.files("whippet_serving").joinpath("model.schema.json").read_bytes()
        == resources.files(training).joinpath("model.schema.json").read_bytes()
    )
