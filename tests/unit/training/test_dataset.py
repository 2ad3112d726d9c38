from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from support.photos import jpeg
from whippet_training.dataset import read_clean_files, read_dataset
from whippet_training.errors import TrainingError
from whippet_training.source import Folder


def test_splits_and_classes_come_from_the_folders(drawn: Path) -> None:
    dataset = read_dataset(drawn)
    assert Counter(photo.split for photo in dataset.photos) == {"train": 30, "valid": 12, "test": 12}
    assert dataset.classes == ("bee", "fish", "owl")


@pytest.mark.parametrize("name", ["val", "validation", "Valid"])
def test_a_validation_split_may_have_its_other_names(data: Path, name: str) -> None:
    (data / "valid").rename(data / name)
    assert read_dataset(data).count("valid") == 12


def test_a_folder_without_splits_is_split_by_content_and_class(plain: Path) -> None:
    dataset = read_dataset(plain)
    counts = Counter((photo.label, photo.split) for photo in dataset.photos)
    for label in ("dark", "light"):
        assert (counts[label, "train"], counts[label, "valid"], counts[label, "test"]) == (16, 2, 2)


def test_that_split_depends_on_content_and_not_on_names(plain: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    for path in plain.rglob("*.jpg"):
        target = renamed / path.parent.name / f"other-{99 - int(path.stem)}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    first, second = read_dataset(plain), read_dataset(renamed)
    assert {(p.content, p.split) for p in first.photos} == {(p.content, p.split) for p in second.photos}
    assert first.fingerprint() == second.fingerprint()


def test_copies_of_a_picture_stay_in_one_split(plain: Path) -> None:
    for path in list((plain / "dark").iterdir()):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    splits: dict[bytes, set[str]] = {}
    for photo in read_dataset(plain).photos:
        splits.setdefault(photo.content, set()).add(photo.split)
    assert all(len(found) == 1 for found in splits.values())


def test_without_a_valid_split_a_part_of_train_becomes_one(data: Path) -> None:
    shutil.rmtree(data / "valid")
    dataset = read_dataset(data)
    assert dataset.count("valid") == 3
    assert dataset.count("train") == 27


def test_the_fingerprint_changes_with_content_label_and_split(data: Path) -> None:
    before = read_dataset(data).fingerprint()
    (data / "train/bee/0.jpg").rename(data / "train/owl/moved.jpg")
    moved = read_dataset(data).fingerprint()
    (data / "train/owl/moved.jpg").rename(data / "test/owl/moved.jpg")
    assert len({before, moved, read_dataset(data).fingerprint()}) == 3


def test_hidden_files_and_loops_of_links_are_passed_over(data: Path) -> None:
    (data / "train/bee/.DS_Store").write_bytes(b"\0")
    (data / "train/bee/._0.jpg").write_bytes(jpeg((1, 2, 3)))
    (data / "train/bee/loop").symlink_to(data / "train/bee")
    assert read_dataset(data).count("train") == 30


def test_files_that_are_no_photos_by_name_are_told(data: Path) -> None:
    (data / "train/bee/notes.txt").write_text("hello")
    dataset = read_dataset(data)
    assert dataset.strangers == ("train/bee/notes.txt",)
    assert dataset.count("train") == 30


def test_a_folder_with_a_test_split_but_no_train_split_is_refused(data: Path) -> None:
    shutil.rmtree(data / "train")
    with pytest.raises(TrainingError, match="train"):
        read_dataset(data)


def test_two_folders_for_one_split_are_refused(data: Path) -> None:
    shutil.copytree(data / "valid", data / "val")
    with pytest.raises(TrainingError, match="keep one"):
        read_dataset(data)


def test_a_manifest_tells_the_photos_that_the_backbone_has_not_seen(data: Path) -> None:
    assert read_clean_files(Folder(data)) is None
    (data / "manifest.csv").write_text(
        "file,imagenet_split\ntest/bee/0.jpg,train\ntest/bee/1.jpg,val\ntest/bee/2.jpg,none\n"
    )
    assert read_clean_files(Folder(data)) == {"test/bee/1.jpg", "test/bee/2.jpg"}
