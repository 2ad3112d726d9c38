"""Photos in S3 as a training reads them, on local AWS."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.ports import free_port
from whippet.local import control
from whippet_training import remote
from whippet_training.backbones import create_backbone
from whippet_training.cache import FeatureCache
from whippet_training.dataset import Dataset, read_dataset
from whippet_training.engines import create_engine
from whippet_training.errors import TrainingError
from whippet_training.features import extract
from whippet_training.sample import Picture, draw

BUCKET = "photos"
URI = f"s3://{BUCKET}/animals"
SIZES = {"train": 8, "valid": 3, "test": 3}
ANIMALS = ("bee", "owl")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Local AWS, found as on AWS: by the environment."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_HOME", str(tmp_path_factory.mktemp("whippet")))
        patch.setenv("AWS_ENDPOINT_URL", control.url(port))
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        control.up(port)
        yield control.url(port)
        control.down(port)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    for split, count in SIZES.items():
        for animal in ANIMALS:
            (root / split / animal).mkdir(parents=True)
            for number in range(count):
                (root / split / animal / f"{number}.jpg").write_bytes(draw(Picture(split, animal, number)))
    return root


@pytest.fixture
def s3(aws: str, folder: Path) -> Any:
    """A client, and the photos where trainings look for them."""
    client = boto3.resource("s3")
    bucket = client.create_bucket(Bucket=BUCKET)
    bucket.objects.all().delete()
    for path in sorted(folder.rglob("*.jpg")):
        bucket.upload_file(str(path), f"animals/{path.relative_to(folder).as_posix()}")
    return bucket


class Requests:
    """Counts the objects that boto3 fetches, wherever in this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fetched: Counter[str] = Counter()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        create = boto3.client

        def client(service: str, **settings: Any) -> Any:
            made = create(service, **settings)  # type: ignore[call-overload]
            made.meta.events.register("before-call.s3.GetObject", self._begin)
            made.meta.events.register("after-call.s3.GetObject", self._end)
            return made

        patch.setattr(boto3, "client", client)

    def _begin(self, params: Any, **_: Any) -> None:
        with self._lock:
            self.fetched[params["url_path"].removeprefix(f"/{BUCKET}/animals/").removeprefix("/animals/")] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def _end(self, **_: Any) -> None:
        with self._lock:
            self._now -= 1


@pytest.fixture
def requests(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


def files(dataset: Dataset) -> dict[str, tuple[str, str]]:
    return {photo.file: (photo.split, photo.label) for photo in dataset.photos}


def test_the_listing_alone_gives_splits_and_classes(requests: Requests, folder: Path) -> None:
    dataset = read_dataset(URI)
    assert files(dataset) == files(read_dataset(folder))
    assert dataset.classes == ANIMALS
    assert not requests.fetched


def test_hidden_objects_markers_of_folders_and_other_prefixes_are_passed_over(s3: Any) -> None:
    before = files(read_dataset(URI))
    for key in ("animals/", "animals/train/bee/.hidden.jpg", "animals/.git/bee/1.jpg", "animals-2/train/cat/1.jpg"):
        s3.put_object(Key=key, Body=b"")
    s3.put_object(Key="animals/train/bee/notes.txt", Body=b"hello")
    dataset = read_dataset(f"{URI}/")
    assert files(dataset) == before
    assert dataset.strangers == ("train/bee/notes.txt",)


def test_a_prefix_without_splits_is_split_the_same_way_each_time(s3: Any) -> None:
    uri = f"{URI}/train"
    first = read_dataset(uri)
    assert Counter(photo.split for photo in first.photos) == {"train": 12, "valid": 2, "test": 2}
    assert first.photos == read_dataset(uri).photos


def test_two_ranks_together_fetch_every_object_once(requests: Requests, tmp_path: Path) -> None:
    backbone = create_backbone("tf_efficientnet_lite0")
    engine = create_engine("openvino", backbone)
    meeting, table = threading.Barrier(2), [None, None]

    class Rank:
        size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gather(self, obj: Any) -> list[Any]:
            table[self.rank] = obj
            meeting.wait(60)
            gathered = list(table)
            meeting.wait(60)
            return gathered

    def train(rank: int) -> int:
        dataset = read_dataset(URI)
        with FeatureCache(tmp_path / str(rank), backbone.width) as cache:
            (tmp_path / str(rank)).mkdir()
            found = extract(dataset.source, dict.fromkeys(dataset.photos, 1), backbone, engine, cache, group=Rank(rank))
        return len(found.entries)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(train, range(2))) == [28, 28]
    assert requests.fetched == dict.fromkeys(files(read_dataset(URI)), 1)


def test_photos_are_fetched_ahead_but_no_more_than_a_few(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECTIONS", 2)
    monkeypatch.setattr(remote, "READ_AHEAD", 4)
    dataset = read_dataset(URI)
    names = [photo.file for photo in dataset.photos]
    with dataset.source.reader(names) as read:
        first = read(0)
        assert sum(requests.fetched.values()) <= 5
        assert [first, *(read(number) for number in range(1, len(names)))] == [
            dataset.source.read(name) for name in names
        ]
    assert requests.most_at_once <= 3


def test_an_object_that_is_deleted_meanwhile_is_skipped_and_one_that_changes_ends_the_training(s3: Any) -> None:
    dataset = read_dataset(URI)
    s3.Object("animals/train/bee/0.jpg").delete()
    with pytest.raises(FileNotFoundError, match="deleted after the listing"):
        dataset.source.read("train/bee/0.jpg")
    s3.put_object(Key="animals/train/bee/1.jpg", Body=b"other")
    with pytest.raises(TrainingError, match="was changed after the listing; start again"):
        dataset.source.read("train/bee/1.jpg")


@pytest.mark.parametrize(
    ("uri", "words"),
    [("s3://nobody-has-this/photos", "cannot be listed: NoSuchBucket"), (f"s3://{BUCKET}/none", "is empty; upload")],
)
def test_a_place_that_cannot_be_listed_is_told_in_one_line(s3: Any, uri: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        read_dataset(uri)


def test_training_on_s3_makes_the_model_that_training_on_the_folder_makes(
    s3: Any, folder: Path, tmp_path: Path
) -> None:
    def train(data: str, out: Path) -> dict[str, Any]:
        flags = ("--backbone", "tf_efficientnet_lite0", "--epochs", "5", "--json", "--out", str(out))
        done = subprocess.run(
            [sys.executable, "-m", "whippet_training.train", data, *flags],
            env={**os.environ, "WHIPPET_CACHE": str(out.with_suffix(".cache"))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    remote_run, local_run = train(URI, tmp_path / "s3"), train(str(folder), tmp_path / "folder")
    assert remote_run["data"]["folder"] == URI
    assert remote_run["test"]["loss"] == local_run["test"]["loss"]
    # nothing was written but the run and the features
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.cache", "s3", "s3.cache"]
    shutil.rmtree(tmp_path / "s3")
    assert (
        hashlib.sha256(s3.Object("animals/train/bee/0.jpg").get()["Body"].read()).digest()
        == hashlib.sha256((folder / "train/bee/0.jpg").read_bytes()).digest()
    )
