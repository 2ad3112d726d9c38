from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whippet_serving import engine as engine_module
from whippet_serving.archive import ModelError, read_archive
from whippet_serving.engine import EngineChoice, load_engine

ENGINES = [EngineChoice.OPENVINO, EngineChoice.TORCH]
PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
EXPECTED = 4 * (PHOTO.mean((0, 1)) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.4, 0.3]


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def hide(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a module look as if it were not installed."""
    find_spec = engine_module.importlib.util.find_spec
    monkeypatch.setattr(
        engine_module.importlib.util, "find_spec", lambda name: None if name == module else find_spec(name)
    )


@pytest.mark.parametrize("choice", ENGINES)
@pytest.mark.parametrize("alone", [True, False])
def test_normalises_and_answers_with_the_networks_logits(tiny_model: Path, choice: EngineChoice, alone: bool) -> None:
    engine = load_engine(read_archive(tiny_model), choice, threads=2)

    np.testing.assert_allclose(engine(PHOTO, alone), EXPECTED, atol=1e-4)


@pytest.mark.parametrize("choice", ENGINES)
def test_answers_several_threads_at_once_each_its_own_photo(tiny_model: Path, choice: EngineChoice) -> None:
    engine = load_engine(read_archive(tiny_model), choice, threads=2)
    photos = [np.full((32, 32, 3), value, dtype=np.uint8) for value in range(200)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda photo: engine(photo, alone=False), photos))

    expected = [4 * (value / 255 - np.array([0.5, 0.4, 0.3])) / [0.5, 0.4, 0.3] for value in range(200)]
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("choice", ENGINES)
def test_needs_the_weights_no_longer_once_loaded(model_copy: Path, choice: EngineChoice) -> None:
    engine = load_engine(read_archive(model_copy), choice, threads=1)
    shutil.rmtree(model_copy)

    np.testing.assert_allclose(engine(PHOTO, alone=True), EXPECTED, atol=1e-4)


def test_takes_openvino_where_it_is_installed(tiny_model: Path) -> None:
    assert load_engine(read_archive(tiny_model), EngineChoice.AUTO, threads=1).name == "openvino"


def test_takes_pytorch_where_openvino_is_missing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide("openvino", monkeypatch)

    assert load_engine(read_archive(tiny_model), EngineChoice.AUTO, threads=1).name == "torch"


def test_takes_pytorch_where_the_archive_holds_nothing_else(model_copy: Path) -> None:
    rewrite(model_copy, weights={"torchscript": "model.pt"})

    assert load_engine(read_archive(model_copy), EngineChoice.AUTO, threads=1).name == "torch"


def test_says_what_to_install_for_the_archives_weights(model_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(model_copy, weights={"openvino": "model.xml"})
    hide("openvino", monkeypatch)

    with pytest.raises(ModelError, match="pip install openvino"):
        load_engine(read_archive(model_copy), EngineChoice.AUTO, threads=1)


def test_says_that_the_archive_holds_nothing_for_the_chosen_engine(model_copy: Path) -> None:
    rewrite(model_copy, weights={"openvino": "model.xml"})

    with pytest.raises(ModelError, match="no weights for torch"):
        load_engine(read_archive(model_copy), EngineChoice.TORCH, threads=1)


def test_does_not_blame_the_archive_for_an_engine_that_cannot_be_imported(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise RuntimeError('no libtbb')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino")

    with pytest.raises(ModelError, match="openvino is installed, but cannot be imported: no libtbb"):
        load_engine(read_archive(tiny_model), EngineChoice.AUTO, threads=1)


@pytest.mark.parametrize(
    ("choice", "file"),
    [(EngineChoice.OPENVINO, "model.xml"), (EngineChoice.TORCH, "model.pt")],
)
def test_refuses_damaged_weights_in_one_line(model_copy: Path, choice: EngineChoice, file: str) -> None:
    (model_copy / file).write_bytes(b"damaged")

    with pytest.raises(ModelError, match=file) as refusal:
        load_engine(read_archive(model_copy), choice, threads=1)

    assert "\n" not in str(refusal.value)


def test_refuses_an_openvino_model_without_its_bin(model_copy: Path) -> None:
    (model_copy / "model.bin").unlink()

    with pytest.raises(ModelError, match=r"model\.xml"):
        load_engine(read_archive(model_copy), EngineChoice.OPENVINO, threads=1)


@pytest.mark.parametrize("choice", ENGINES)
def test_refuses_weights_for_another_number_of_classes(model_copy: Path, choice: EngineChoice) -> None:
    rewrite(model_copy, classes=["red", "green", "blue", "grey"])

    with pytest.raises(ModelError, match="4 classes"):
        load_engine(read_archive(model_copy), choice, threads=1)
