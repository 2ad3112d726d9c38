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
import torch

from support.signals import signal_stack
from whippet_serving import engine as engine_module
from whippet_serving import networks
from whippet_serving.archive import ModelError, read_archive
from whippet_serving.engine import Engine, EngineChoice, EngineSettings, load_engine
from whippet_serving.networks import Logits, Pixels, Precision, settled
from whippet_serving.priority import NICENESS

ENGINES = [EngineChoice.OPENVINO, EngineChoice.ONNX, EngineChoice.TORCH]
PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
BROWN = np.array([201, 83, 11], dtype=np.uint8) * np.ones((32, 32, 1), dtype=np.uint8)
"""Its classes are far apart, and bfloat16 moves all of its logits."""
EXPECTED = 4 * (PHOTO.mean((0, 1)) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.4, 0.3]


def load(folder: Path, choice: EngineChoice, **settings: Any) -> Engine:
    settings = {"warm_up_s": 0.0, "precision": Precision.FLOAT32, **settings}
    return load_engine(read_archive(folder), EngineSettings(choice, **settings))


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


@pytest.mark.skipif(sys.platform != "linux", reason="only there do threads have priorities of their own")
def test_computes_at_a_lower_priority_than_the_event_loops(tiny_model: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path;"
        "from whippet_serving.archive import read_archive;"
        "from whippet_serving.engine import EngineChoice, EngineSettings, load_engine;"
        "before = os.getpriority(os.PRIO_PROCESS, 0);"
        "engine = load_engine(read_archive(Path(sys.argv[1])), EngineSettings(EngineChoice.OPENVINO, threads=2));"
        "threads = {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir('/proc/self/task')};"
        "print(before, os.getpriority(os.PRIO_PROCESS, 0), max(threads))"
    )

    told = subprocess.run(
        [sys.executable, "-c", program, str(tiny_model)], check=True, capture_output=True, text=True
    ).stdout

    before, event_loop, computing = map(int, told.split())
    assert (event_loop, computing) == (before, min(19, before + NICENESS))


@pytest.mark.parametrize("choice", ENGINES)
def test_says_in_the_log_what_it_measured(
    tiny_model: Path, choice: EngineChoice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whippet_serving")

    load(tiny_model, choice, threads=2, warm_up_s=60.0)

    [line] = [record.getMessage() for record in caplog.records]
    way = r"\d at once: \d+/s"
    assert re.fullmatch(
        rf"Engine: {choice} in float32, 2 threads, {way}, [\d.]+ ms alone \(tried {choice} {way}\)", line
    )


@pytest.mark.parametrize("choice", ENGINES)
def test_measures_nothing_where_all_is_fixed(
    tiny_model: Path, choice: EngineChoice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whippet_serving")

    engine = load(tiny_model, choice, threads=4, streams=3, batch=1, warm_up_s=0.0)

    assert engine.callers == 3
    assert re.fullmatch(
        rf"Engine: {choice} in float32, 4 threads, 3 at once, [\d.]+ ms alone", caplog.records[-1].getMessage()
    )


def has_bfloat16() -> bool:
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_computes_in_bfloat16_where_the_processor_has_it(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="whippet_serving")
    rough = load(tiny_model, EngineChoice.OPENVINO, threads=2, precision=Precision.AUTO)(BROWN, True)
    told = caplog.text
    exact = load(tiny_model, EngineChoice.OPENVINO, threads=2)(BROWN, True)

    np.testing.assert_allclose(rough, exact, rtol=0.05, atol=0.05)
    assert bool(np.abs(rough - exact).max() > 1e-4) is has_bfloat16()
    assert ("openvino in bfloat16" in told) is has_bfloat16()


def test_tries_no_other_engine_where_it_computes_in_bfloat16(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "_GPU", tmp_path / "none")
    caplog.set_level("INFO", logger="whippet_serving")
    load(tiny_model, EngineChoice.AUTO, threads=2, precision=Precision.AUTO, warm_up_s=60.0)

    assert ("onnx" in caplog.text) is not has_bfloat16()


@pytest.mark.parametrize("settings", [{}, {"batch": 4}])
def test_answers_in_float32_where_two_classes_come_close(
    tiny_model: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "CLOSE", 1e6)
    engine = load(tiny_model, EngineChoice.OPENVINO, threads=2, precision=Precision.AUTO, **settings)
    exact = load(tiny_model, EngineChoice.OPENVINO, threads=2, streams=1)

    for alone in (True, False):
        np.testing.assert_array_equal(engine(BROWN, alone), exact(BROWN, True))


def test_asks_again_only_about_photos_whose_best_classes_come_close() -> None:
    asked: list[int] = []

    def rough(photos: Pixels) -> Logits:
        return np.array([[0, 1, 1.4], [5, 0, 1], [1, 1, 0], [np.nan, 0, 9]], np.float32)[photos[:, 0, 0, 0]]

    def exact(photos: Pixels) -> Logits:
        asked.extend(photos[:, 0, 0, 0])
        return np.full((len(photos), 3), 7, np.float32)

    answers = settled(rough, exact, close=0.5)(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))

    assert asked == [0, 2, 3]
    assert answers.tolist() == [[7, 7, 7], [5, 0, 1], [7, 7, 7], [7, 7, 7]]


def test_settles_nothing_where_there_is_one_class() -> None:
    def one(photos: Pixels) -> Logits:
        return np.zeros((len(photos), 1), np.float32)

    def never(photos: Pixels) -> Logits:
        raise AssertionError

    assert settled(one, never, close=0.5)(np.zeros((2, 1, 1, 1), np.uint8)).tolist() == [[0], [0]]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of TorchScript, through which OpenVINO converts
def test_computes_in_float32_where_a_network_does_not_bear_less(
    model_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whippet_serving")
    # adds 1000 to every pixel, of which bfloat16 keeps two or three digits, and takes it away again
    there, back = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
    for layer, bias in ((there, 1000.0), (back, -1000.0)):
        layer.weight.data, layer.bias.data = torch.eye(3).view(3, 3, 1, 1), torch.full((3,), bias)
    network = torch.nn.Sequential(there, back, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    converted = openvino.convert_model(network, example_input=torch.zeros(1, 3, 32, 32), input=[-1, 3, 32, 32])
    openvino.save_model(converted, model_copy / "model.xml", compress_to_fp16=False)

    careful = load(model_copy, EngineChoice.OPENVINO, threads=2, precision=Precision.AUTO)(BROWN, True)

    np.testing.assert_array_equal(careful, load(model_copy, EngineChoice.OPENVINO, threads=2)(BROWN, True))
    assert ("does not bear bfloat16" in caplog.text) is has_bfloat16()


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
