from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.photos import encode, jpeg
from whippet_training.check import Finding, check
from whippet_training.dataset import read_dataset


def findings(data: Path) -> set[tuple[str, str, str]]:
    return {(one.severity, one.kind, one.subject) for one in check(read_dataset(data))}


def test_a_sound_folder_has_no_errors(drawn: Path) -> None:
    assert not {one for one in findings(drawn) if one[0] == "error"}


@pytest.mark.parametrize("damage", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut"])
def test_unreadable_files_are_named(data: Path, damage: bytes) -> None:
    (data / "train/bee/0.jpg").write_bytes(damage)
    assert ("error", "unreadable", "train/bee/0.jpg") in findings(data)


def test_a_truncated_photo_is_named(data: Path) -> None:
    photo = data / "valid/owl/0.jpg"
    photo.write_bytes(photo.read_bytes()[:-2000])
    assert ("error", "unreadable", "valid/owl/0.jpg") in findings(data)


def test_wrong_types_are_named(data: Path) -> None:
    (data / "train/bee/odd.jpg").write_bytes(encode(Image.new("RGB", (80, 80), "red"), "PNG"))
    (data / "train/bee/film.jpg").write_bytes(encode(Image.new("RGB", (80, 80), "red"), "GIF"))
    (data / "train/bee/notes.txt").write_text("hello")
    assert findings(data) >= {
        ("warning", "wrong type", "train/bee/odd.jpg"),
        ("error", "unreadable", "train/bee/film.jpg"),
        ("warning", "not a photo", "train/bee/notes.txt"),
    }


def test_tiny_pictures_are_named(data: Path) -> None:
    (data / "train/bee/tiny.jpg").write_bytes(jpeg((9, 9, 9), (300, 63)))
    assert ("warning", "tiny picture", "train/bee/tiny.jpg") in findings(data)


def test_a_copy_beside_its_original_is_a_warning(data: Path) -> None:
    shutil.copy(data / "train/bee/0.jpg", data / "train/bee/again.jpg")
    assert ("warning", "duplicate", "train/bee/0.jpg, train/bee/again.jpg") in findings(data)


def test_the_same_picture_in_two_splits_is_an_error(data: Path) -> None:
    shutil.copy(data / "train/bee/0.jpg", data / "test/bee/leak.jpg")
    assert ("error", "same picture in two splits", "test/bee/leak.jpg, train/bee/0.jpg") in findings(data)


def test_the_same_picture_in_two_classes_is_an_error(data: Path) -> None:
    shutil.copy(data / "train/bee/0.jpg", data / "train/owl/bee.jpg")
    assert ("error", "same picture in two classes", "train/bee/0.jpg, train/owl/bee.jpg") in findings(data)


def test_a_copy_with_other_metadata_is_still_the_same_picture(data: Path) -> None:
    original = Image.open(data / "train/bee/0.jpg")
    (data / "test/bee/png.png").write_bytes(encode(original, "PNG"))
    assert ("error", "same picture in two splits", "test/bee/png.png, train/bee/0.jpg") in findings(data)


def test_empty_tiny_and_missing_classes_are_named(data: Path) -> None:
    (data / "train/cat").mkdir()
    shutil.rmtree(data / "valid/owl")
    for number in range(1, 10):
        (data / f"train/fish/{number}.jpg").unlink()
    assert findings(data) >= {
        ("error", "empty class", "cat"),
        ("warning", "tiny class", "fish"),
        ("warning", "class missing in a split", "owl"),
    }


def test_a_class_that_is_never_trained_is_an_error(data: Path) -> None:
    shutil.rmtree(data / "train/owl")
    assert ("error", "class without training photos", "owl") in findings(data)


def test_one_class_is_too_few(data: Path) -> None:
    for split in ("train", "valid", "test"):
        shutil.rmtree(data / split / "owl")
        shutil.rmtree(data / split / "fish")
    assert any(kind == "too few classes" for _, kind, _ in findings(data))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whippet_training.data", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_ends_with_1_on_errors_and_0_on_warnings(data: Path) -> None:
    (data / "train/bee/notes.txt").write_text("hello")
    warned = run("check", str(data), "--json")
    assert warned.returncode == 0
    shutil.copy(data / "train/bee/0.jpg", data / "test/bee/leak.jpg")
    failed = run("check", str(data), "--json")
    assert failed.returncode == 1
    report = json.loads(failed.stdout)
    assert (report["photos"], report["classes"], report["errors"]) == (55, 3, 1)
    assert Finding(**report["findings"][0]).kind == "same picture in two splits"
    assert "test/bee/leak.jpg" in run("check", str(data)).stdout


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    done = run("check", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not a folder" in done.stderr
