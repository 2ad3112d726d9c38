from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from whippet_training import inference
from whippet_training.backbones import create_backbone
from whippet_training.engines import openvino_backbone
from whippet_training.errors import TrainingError
from whippet_training.export import verify_weights, write_weights
from whippet_training.head import Head


def test_the_files_depend_on_the_network_alone_and_not_on_what_the_process_did_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    backbone = create_backbone("tf_efficientnet_lite0+tf_efficientnet_lite1", image_size=64)
    head = Head(((rng.standard_normal((3, backbone.width)).astype(np.float32), np.zeros(3, np.float32)),))
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        weights = write_weights(folder, backbone, head)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        openvino_backbone(backbone.parts[1])  # traces
    assert written[0] == written[1]
    assert written[0].keys() == {"model.pt", "model.onnx", "model.xml", "model.bin"}
    photos = rng.standard_normal((4, 3, 64, 64)).astype(np.float32)
    logits = head.logits(backbone.module(torch.from_numpy(photos)).numpy())
    verify_weights(folder, weights, photos, logits)
    for load, file in ((inference.load_torch, "model.pt"), (inference.load_onnx, "model.onnx")):
        assert np.abs(load(folder / file)(photos) - logits).max() < 1e-3


def test_onnx_runtime_does_not_report_to_its_makers(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"damaged")
    program = (
        "import sys; from pathlib import Path; from whippet_training.inference import load_onnx;"
        "load_onnx(Path(sys.argv[1]))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "damaged.onnx")],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "InvalidProtobuf" in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()] == []


class Eigenvalues(torch.nn.Module):
    """Computes what ONNX has no word for."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(photos.mean(dim=1))


def test_a_network_that_onnx_cannot_express_is_written_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    lite0 = create_backbone("tf_efficientnet_lite0", image_size=64)
    backbone = replace(lite0, module=Eigenvalues(), width=64)
    head = Head(((np.ones((3, 64), np.float32), np.zeros(3, np.float32)),))
    assert write_weights(tmp_path, backbone, head) == {"torchscript": "model.pt"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_packages_there_is_no_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    find_spec = importlib.util.find_spec
    hidden = {"openvino", missing}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name))
    backbone = create_backbone("tf_efficientnet_lite0", image_size=64)
    head = Head(((np.ones((3, backbone.width), np.float32), np.zeros(3, np.float32)),))
    assert write_weights(tmp_path, backbone, head) == {"torchscript": "model.pt"}


def test_a_file_that_answers_otherwise_is_refused_by_its_name(tmp_path: Path) -> None:
    backbone = create_backbone("tf_efficientnet_lite0", image_size=64)
    head = Head(((np.ones((3, backbone.width), np.float32), np.zeros(3, np.float32)),))
    weights = write_weights(tmp_path, backbone, head)
    photos = np.zeros((1, 3, 64, 64), np.float32)
    logits = head.logits(backbone.module(torch.from_numpy(photos)).numpy())
    with pytest.raises(TrainingError, match=r"model\.onnx does not answer"):
        verify_weights(tmp_path, {"onnx": weights["onnx"]}, photos, logits + 0.01)
