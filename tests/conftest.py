"""Fixtures that several packages' tests share."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import tarfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

SIDE = 32


@pytest.fixture(autouse=True)
def _handlers_of_signals_stay() -> Iterator[None]:
    """Gives signals back their handlers: what a server sets in a test would end the process of the next ones."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tiny_model_document() -> dict[str, Any]:
    metrics = {"top1": 1.0, "top5": 1.0, "loss": 0.1, "ece": 0.0, "images": 3}
    return {
        "schema_version": 1,
        "id": "0123456789ab",
        "name": "mean-colour",
        "backbone": "none",
        "classes": ["red", "green", "blue"],
        "preprocessing": {
            "resize": 36,
            "crop": SIDE,
            "interpolation": "bicubic",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.5, 0.4, 0.3],
        },
        "weights": {"openvino": "model.xml", "torchscript": "model.pt"},
        "metrics": {"valid": metrics, "test": None},
        "data": {"fingerprint": f"sha256:{0:064}", "images": {"train": 3, "valid": 3, "test": 0}},
        "hyperparameters": {},
        "seed": 0,
        "versions": {
            "whippet_training": "0.1.0",
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "timm", "openvino")},
        },
    }


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked model archive that keeps the contract and names the brightest colour of a photo; do not change it."""
    import openvino  # here, since these two take seconds that most tests need not wait for
    import torch

    folder = tmp_path_factory.mktemp("tiny-model")
    # a convolution, since that is what an engine computes with less precision where the processor offers it
    mix = torch.nn.Conv2d(3, 3, 1, bias=False)
    mix.weight.data = 4 * torch.eye(3).view(3, 3, 1, 1)
    network = torch.nn.Sequential(mix, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    example = torch.zeros(1, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, but AWS's container loads it
        torch.jit.save(torch.jit.trace(network, example), folder / "model.pt")
        converted = openvino.convert_model(network, example_input=example, input=[-1, 3, SIDE, SIDE])
    openvino.save_model(converted, folder / "model.xml", compress_to_fp16=False)
    (folder / "model.json").write_text(json.dumps(tiny_model_document()))
    return folder


@pytest.fixture(scope="session")
def tiny_model_with_onnx(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with ONNX weights too; do not change it."""
    import torch

    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("tiny-model-with-onnx") / "model"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript and its exporter are deprecated
        torch.onnx.export(
            torch.jit.load(folder / "model.pt"),
            (torch.zeros(1, 3, SIDE, SIDE),),
            folder / "model.onnx",
            input_names=["photo"],
            dynamic_axes={"photo": {0: "photos"}},
            dynamo=False,
        )
    document = json.loads((folder / "model.json").read_text())
    document["weights"]["onnx"] = "model.onnx"
    (folder / "model.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def tiny_model_with_hooks(tiny_model_with_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with ONNX weights and the hooks that training packs; do not change it."""
    folder = Path(shutil.copytree(tiny_model_with_onnx, tmp_path_factory.mktemp("tiny-model-with-hooks") / "model"))
    hooks = Path(__file__).parents[1] / "python/training/src/whippet_training/inference.py"
    (folder / "code").mkdir()
    shutil.copy(hooks, folder / "code")
    return folder


@pytest.fixture
def model_copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[Path], Path]:
    """Packs a folder as model.tar.gz, its files at the archive's root."""

    def pack_folder(folder: Path) -> Path:
        path = tmp_path / "model.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name)
        return path

    return pack_folder
