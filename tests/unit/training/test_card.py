"""The card of a real model: a nearest-centre classifier of drawn pictures, which is good but not perfect."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from whippet_training import metrics
from whippet_training.card import NAMES, Evaluation, write_card
from whippet_training.dataset import Dataset, read_dataset
from whippet_training.footprint import Footprint, measure

HOSTILE = "<script>alert('1')</script> | `x` [a](b)"


def evaluation_of(dataset: Dataset, classes: list[str]) -> Evaluation:
    """Tells pictures by the colour they are most like on average."""

    def colours(split: str) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        photos = [photo for photo in dataset.photos if photo.split == split]
        means = [np.asarray(Image.open(dataset.root / photo.file)).mean(axis=(0, 1)) for photo in photos]
        return photos, np.array(means), np.array([classes.index(photo.label) for photo in photos])

    _, train, labels = colours("train")
    centres = np.stack([train[labels == i].mean(axis=0) for i in range(len(classes))])
    photos, test, labels = colours("test")
    distances = np.linalg.norm(test[:, np.newaxis] - centres, axis=2)
    clean = np.arange(len(photos)) % 3 > 0
    return Evaluation("test", photos, (-distances / 10).astype(np.float32), labels, clean)


def report_of(dataset: Dataset, evaluation: Evaluation, classes: list[str]) -> dict[str, Any]:
    matrix = metrics.confusion_matrix(evaluation.logits.argmax(axis=1), evaluation.labels, len(classes))
    assert evaluation.clean is not None
    return {
        "model": {"id": "0123456789ab", "name": "colours", "backbone": "none"},
        "test": {
            **metrics.summarise(evaluation.logits, evaluation.labels),
            "per_class": metrics.per_class(matrix, classes),
        },
        "test_clean": metrics.summarise(evaluation.logits[evaluation.clean], evaluation.labels[evaluation.clean]),
        "data": {"fingerprint": dataset.fingerprint(), "images": {"train": 30, "valid": 12, "test": 12}},
        "skipped": [],
        "leaks": [],
        "hyperparameters": {"learning_rate": 1e-3, "weight_decay": [0.01, 1.0], "temperature": 1.25},
        "trials": [{"epoch": 3, "train_loss": [1.1, 0.8, 0.5, 0.4], "valid_loss": [1.0, 0.9, 0.7, 0.8]}],
        "rules": [{"rule": "overfit", "action": "warn", "message": "photos < are learned by heart"}],
        "label_suspects": [
            {"file": dataset.photos[0].file, "label": classes[0], "looks_like": classes[1], "score": 0.9}
        ],
        "seed": 0,
        "engine": "openvino-1",
        "versions": {"torch": "2.14.1", "openvino": None},
    }


def write(dataset: Dataset, folder: Path, footprint: Footprint) -> tuple[Path, Path]:
    archive, run = folder / "archive", folder / "run"
    archive.mkdir(parents=True)
    run.mkdir()
    classes = list(dataset.classes)
    evaluation = evaluation_of(dataset, classes)
    report = report_of(dataset, evaluation, classes)
    preprocessing = {"crop": 224, "mean": [0.5, 0.5, 0.5]}
    write_card(archive, run, report, dataset, evaluation, classes, preprocessing, footprint)
    return archive, run


@pytest.fixture
def hostile(data: Path) -> Dataset:
    """The drawn data set with a class whose name is markup."""
    for split in ("train", "valid", "test"):
        # A slash cannot be in a folder's name
        (data / split / "bee").rename(data / split / HOSTILE.replace("/", "\u2215"))
    (data / "README.md").write_text("# Drawn\n\nDrawn by <b>a program</b>.\n")
    return read_dataset(data)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_names_as_text_and_loads_nothing(hostile: Dataset, tmp_path: Path) -> None:
    _, run = write(hostile, tmp_path, measure(30, 2, {}))
    page = Page((run / "model_card.html").read_text())
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "b>a program"}
    assert HOSTILE.replace("/", "\u2215") in page.text
    assert "Drawn by <b>a program</b>." in page.text
    assert "photos < are learned by heart" in page.text
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert not any(name.startswith("on") for name in attributes)


def test_the_markdown_shows_names_as_text(hostile: Dataset, tmp_path: Path) -> None:
    _, run = write(hostile, tmp_path, measure(30, 2, {}))
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render((run / "model_card.md").read_text())
    page = Page(rendered)
    assert not {tag for tag, _ in page.tags} & {"script", "a", "b", "img"}
    assert HOSTILE.replace("/", "\u2215") in page.text


def test_thumbnails_are_few_small_and_of_the_mistakes(drawn: Path, tmp_path: Path) -> None:
    dataset = read_dataset(drawn)
    _, run = write(dataset, tmp_path, measure(30, 2, {}))
    page = Page((run / "model_card.html").read_text())
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    evaluation = evaluation_of(dataset, list(dataset.classes))
    wrong = {
        photo.file
        for photo, predicted, label in zip(
            evaluation.photos, evaluation.logits.argmax(axis=1), evaluation.labels, strict=True
        )
        if predicted != label
    }
    assert wrong
    *mistakes, suspect = (attributes["alt"] for attributes in pictures)
    assert set(mistakes) <= wrong
    assert suspect == dataset.photos[0].file
    assert 2 <= len(pictures) <= 18
    for attributes in pictures:
        data = base64.b64decode((attributes["src"] or "").partition(",")[2])
        assert len(data) <= 10_000
        with Image.open(io.BytesIO(data)) as picture:
            assert max(picture.size) <= 112


def test_the_figures_are_those_of_the_report_with_intervals_around_them(drawn: Path, tmp_path: Path) -> None:
    dataset = read_dataset(drawn)
    archive, _ = write(dataset, tmp_path, measure(30, 2, {}))
    text = (archive / "model_card.md").read_text()
    evaluation = evaluation_of(dataset, list(dataset.classes))
    for title, top1 in (
        ("all test photos", metrics.summarise(evaluation.logits, evaluation.labels)["top1"]),
        (
            "test photos not in ImageNet's training set",
            metrics.summarise(evaluation.logits[evaluation.clean], evaluation.labels[evaluation.clean])["top1"],
        ),
    ):
        found = re.search(rf"\| {title} \| ([\d.]+)% \(([\d.]+)% to ([\d.]+)%\)", text)
        assert found, text
        given, low, high = (float(group) for group in found.groups())
        assert given == pytest.approx(100 * top1, abs=0.06)
        assert low < given < high
    for said in (dataset.fingerprint(), "temperature 1.25", "as the folder has them (train, valid, test)", "0.01, 1"):
        assert said in text


def test_the_archives_card_is_the_same_however_long_the_training_took(drawn: Path, tmp_path: Path) -> None:
    dataset = read_dataset(drawn)
    slow, slow_run = write(dataset, tmp_path / "slow", measure(300, 2, {}))
    quick, quick_run = write(dataset, tmp_path / "quick", measure(3, 64, {"SM_CURRENT_INSTANCE_TYPE": "ml.m5.large"}))
    for name in NAMES:
        assert (slow / name).read_bytes() == (quick / name).read_bytes()
        assert "differ each time" in (slow / name).read_text()
        assert (slow_run / name).read_bytes() != (quick_run / name).read_bytes()
    assert "3 seconds on 2 vCPUs of ml.m5.large" in (quick_run / "model_card.md").read_text()
    assert "$0.0001" in (quick_run / "model_card.md").read_text()
    assert "Money: not known" in (slow_run / "model_card.md").read_text()


def test_a_folder_without_splits_says_how_it_was_split(plain: Path, tmp_path: Path) -> None:
    archive, _ = write(read_dataset(plain), tmp_path, measure(3, 2, {}))
    text = (archive / "model_card.md").read_text()
    assert "the folder has no splits; of each class a tenth validates" in text
    assert "not recorded: say it in a README.md" in text
