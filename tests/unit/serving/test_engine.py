from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from support.signals import signal_stack
from whippet_serving import engine as engine_module
from whippet_serving.archive import ModelError, read_archive
from whippet_serving.engine import Engine, EngineChoice, EngineSettings, load_engine
from whippet_serving.networks import Precision

ENGINES = [EngineChoice.OPENVINO, EngineChoice.ONNX, EngineChoice.TORCH]
PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
EXPECTED = 4 * (PHOTO.mean((0, 1)) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.4, 0.3]


def load(folder: Path, choice: EngineChoice, **settings: Any) -> Engine:
    return load_engine(read_archive(folder), EngineSettings(choice, **{"warm_up_s": 0.0, **settings}))


@pytest.fixture(scope="session")
def tiny_model(tiny_model_with_onnx: Path) -> Path:
    """All the tests here have weights for every engine."""
    return tiny_model_with_onnx


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
@pytest.mark.parametrize("settings", [{}, {"warm_up_s": 0.2}, {"streams": 1}, {"batch": 4}, {"batch": 4, "streams": 2}])
def test_normalises_and_answers_with_the_networks_logits(
    tiny_model: Path, choice: EngineChoice, settings: dict[str, Any]
) -> None:
    engine = load(tiny_model, choice, threads=2, **settings)

    for alone in (True, False):
        np.testing.assert_allclose(engine(PHOTO, alone), EXPECTED, atol=1e-4)


@pytest.mark.parametrize("choice", ENGINES)
def test_answers_several_threads_at_once_each_its_own_photo(tiny_model: Path, choice: EngineChoice) -> None:
    engine = load(tiny_model, choice, threads=2)
    photos = [np.full((32, 32, 3), value, dtype=np.uint8) for value in range(200)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda photo: engine(photo, alone=False), photos))

    expected = [4 * (value / 255 - np.array([0.5, 0.4, 0.3])) / [0.5, 0.4, 0.3] for value in range(200)]
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("choice", ENGINES)
def test_needs_the_weights_no_longer_once_loaded(model_copy: Path, choice: EngineChoice) -> None:
    engine = load(model_copy, choice, threads=1)
    shutil.rmtree(model_copy)

    np.testing.assert_allclose(engine(PHOTO, alone=True), EXPECTED, atol=1e-4)


def test_takes_openvino_where_it_is_installed(tiny_model: Path) -> None:
    assert load(tiny_model, EngineChoice.AUTO, threads=1).name == "openvino"


def test_takes_onnx_runtime_where_openvino_is_missing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide("openvino", monkeypatch)

    assert load(tiny_model, EngineChoice.AUTO, threads=1).name == "onnx"


def test_takes_pytorch_where_the_others_are_missing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = engine_module.importlib.util.find_spec
    hidden = {"openvino", "onnxruntime"}
    monkeypatch.setattr(
        engine_module.importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )

    assert load(tiny_model, EngineChoice.AUTO, threads=1).name == "torch"


def test_takes_pytorch_where_the_archive_holds_nothing_else(model_copy: Path) -> None:
    rewrite(model_copy, weights={"torchscript": "model.pt"})

    assert load(model_copy, EngineChoice.AUTO, threads=1).name == "torch"


def test_takes_no_pytorch_that_cannot_use_the_gpu(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidiactl"
    driver.touch()
    monkeypatch.setattr(engine_module, "_GPU", driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert load(tiny_model, EngineChoice.AUTO, threads=1).name == "openvino"


def test_says_what_to_install_for_the_archives_weights(model_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(model_copy, weights={"openvino": "model.xml"})
    hide("openvino", monkeypatch)

    with pytest.raises(ModelError, match="pip install openvino"):
        load(model_copy, EngineChoice.AUTO, threads=1)


def test_says_that_the_archive_holds_nothing_for_the_chosen_engine(model_copy: Path) -> None:
    rewrite(model_copy, weights={"openvino": "model.xml"})

    with pytest.raises(ModelError, match="no weights for torch"):
        load(model_copy, EngineChoice.TORCH, threads=1)


def test_does_not_blame_the_archive_for_an_engine_that_cannot_be_imported(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise RuntimeError('no libtbb')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino")

    with pytest.raises(ModelError, match="openvino is installed, but cannot be imported: no libtbb"):
        load(tiny_model, EngineChoice.AUTO, threads=1)


@pytest.mark.parametrize(
    ("choice", "file"),
    [(EngineChoice.OPENVINO, "model.xml"), (EngineChoice.ONNX, "model.onnx"), (EngineChoice.TORCH, "model.pt")],
)
def test_refuses_damaged_weights_in_one_line(model_copy: Path, choice: EngineChoice, file: str) -> None:
    (model_copy / file).write_bytes(b"damaged")

    with pytest.raises(ModelError, match=file) as refusal:
        load(model_copy, choice, threads=1)

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("choice", ENGINES)
def test_leaves_the_stack_for_signals_as_it_is(tiny_model: Path, choice: EngineChoice) -> None:
    before = signal_stack()
    engine = load(tiny_model, choice, threads=2)
    assert signal_stack() == before
    del engine
    assert signal_stack() == before


@pytest.mark.parametrize("choice", ENGINES)
def test_says_in_the_log_what_it_measured(
    tiny_model: Path, choice: EngineChoice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whippet_serving")

    load(tiny_model, choice, threads=2, warm_up_s=60.0)

    [line] = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        rf"Engine: {choice}, 2 threads, \d at once: \d+/s, [\d.]+ ms alone \(tried {choice} \d at once: \d+/s\)", line
    )


@pytest.mark.parametrize("choice", ENGINES)
def test_measures_nothing_where_all_is_fixed(
    tiny_model: Path, choice: EngineChoice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whippet_serving")

    engine = load(tiny_model, choice, threads=4, streams=3, batch=1, warm_up_s=0.0)

    assert engine.callers == 3
    assert re.fullmatch(rf"Engine: {choice}, 4 threads, 3 at once, [\d.]+ ms alone", caplog.records[-1].getMessage())


def test_computes_in_bfloat16_where_the_processor_has_it_and_says_where_not(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load(tiny_model, EngineChoice.AUTO, threads=2, precision=Precision.BFLOAT16)
    rough, exact = engine(PHOTO, True), load(tiny_model, EngineChoice.OPENVINO, threads=2)(PHOTO, True)
    np.testing.assert_allclose(rough, exact, rtol=0.05, atol=0.05)
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (bool((rough != exact).any()), len(warned)) == ((True, 0) if has_bfloat16 else (False, 1))


@pytest.mark.parametrize("choice", [EngineChoice.ONNX, EngineChoice.TORCH])
def test_refuses_bfloat16_of_an_engine_without_it(tiny_model: Path, choice: EngineChoice) -> None:
    with pytest.raises(ModelError, match="choose --engine openvino"):
        load(tiny_model, choice, precision=Precision.BFLOAT16)


def test_refuses_an_openvino_model_without_its_bin(model_copy: Path) -> None:
    (model_copy / "model.bin").unlink()

    with pytest.raises(ModelError, match=r"model\.xml"):
        load(model_copy, EngineChoice.OPENVINO, threads=1)


@pytest.mark.parametrize("choice", ENGINES)
def test_refuses_weights_for_another_number_of_classes(model_copy: Path, choice: EngineChoice) -> None:
    rewrite(model_copy, classes=["red", "green", "blue", "grey"])

    with pytest.raises(ModelError, match="4 classes"):
        load(model_copy, choice, threads=1)


def test_keeps_onnx_runtime_from_reporting_to_its_makers(tiny_model: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from whippet_serving.archive import read_archive;"
        "from whippet_serving.engine import EngineChoice, EngineSettings, load_engine;"
        "load_engine(read_archive(Path(sys.argv[1])), EngineSettings(EngineChoice.ONNX, threads=1))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}

    subprocess.run(
        [sys.executable, "-c", program, str(tiny_model)], check=True, env={**environment, "HOME": str(tmp_path)}
    )

    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()] == []
