"""Packs backbone and head into one network and writes it as a model archive.

The archive holds the network twice: as OpenVINO IR for servers that have OpenVINO, and as TorchScript for AWS's
PyTorch container, whose PyTorch (2.5, 2.6) does not read the newer torch.export files of a later PyTorch.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import importlib.util
import json
import tarfile
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
from torch.jit._trace import TracerWarning

from whippet_training import inference
from whippet_training.backbones import Backbone
from whippet_training.engines import openvino_backbone
from whippet_training.errors import TrainingError
from whippet_training.head import Head
from whippet_training.inference import Floats

OPENVINO_FILE = "model.xml"
TORCHSCRIPT_FILE = "model.pt"
LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit between the trained head on cached features and an exported network. Engines sum in
different orders, which moves logits of size 10 in their fifth digit."""


def write_weights(folder: Path, backbone: Backbone, head: Head) -> dict[str, str]:
    """Writes the network in every format this machine can write.

    Returns:
        The ``weights`` object of model.json.
    """
    weights = {}
    # OpenVINO first: its converter traces the backbone unless the features already needed it, and what TorchScript
    # calls its parts depends on the traces before it. So the bytes do not depend on what the cache held.
    if importlib.util.find_spec("openvino"):
        _write_openvino(folder / OPENVINO_FILE, backbone, head)
        weights["openvino"] = OPENVINO_FILE
    # In a thread, whose call stack is always the same: TorchScript keeps the stack it was traced on in the file.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_write_torchscript, folder / TORCHSCRIPT_FILE, backbone, head).result()
    return {**weights, "torchscript": TORCHSCRIPT_FILE}


def _write_torchscript(path: Path, backbone: Backbone, head: Head) -> None:
    network = torch.nn.Sequential(backbone.module, head.module()).eval().requires_grad_(False)
    side = backbone.preprocessing.crop
    with warnings.catch_warnings():
        # PyTorch prefers torch.export now; the container that reads this file is older than that format
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", category=TracerWarning)
        traced = torch.jit.trace(network, torch.zeros(2, 3, side, side), check_trace=False)
        torch.jit.save(traced, str(path))


def _write_openvino(path: Path, backbone: Backbone, head: Head) -> None:
    import openvino
    from openvino import opset13 as ops

    model = openvino_backbone(backbone).clone()
    values = model.outputs[0].get_node().input_value(0)
    for number, (weights, biases) in enumerate(head.layers):
        if number:
            values = _named(ops.relu(values), f"head.{number}.relu")
        weight = _named(ops.constant(weights), f"head.{number}.weight")
        product = _named(ops.matmul(values, weight, transpose_a=False, transpose_b=True), f"head.{number}.product")
        values = _named(ops.add(product, _named(ops.constant(biases), f"head.{number}.bias")), f"head.{number}.sum")
    logits = _named(values, "logits")
    network = openvino.Model([logits], model.get_parameters(), "whippet")
    network.outputs[0].get_tensor().set_names({"logits"})
    network.get_results()[0].set_friendly_name("result")
    openvino.save_model(network, path, compress_to_fp16=False)


def _named(node: Any, name: str) -> Any:
    """Names a node: OpenVINO would number it by all that the process has made before."""
    node.set_friendly_name(name)
    return node


def verify_weights(folder: Path, weights: dict[str, str], photos: Floats, logits: Floats) -> None:
    """Checks that the exported files answer as the trained head does.

    Args:
        folder: Where the files lie.
        weights: The ``weights`` object of model.json.
        photos: Network inputs [N, 3, crop, crop].
        logits: The trained head's answers [N, classes].

    Raises:
        TrainingError: If a file's logits differ.
    """
    loaders = {"openvino": inference.load_openvino, "torchscript": inference.load_torch}
    for name, file in weights.items():
        difference = float(np.abs(loaders[name](folder / file)(photos) - logits).max())
        if not difference <= LOGIT_TOLERANCE:
            raise TrainingError(
                f"The exported {file} does not answer as the trained model does (logits differ by {difference:.2g}); "
                "nothing was written. Install the versions in constraints.txt."
            )


def model_id(folder: Path, weights: dict[str, str]) -> str:
    """Names a model after its weights: the first 12 hexadecimal digits of the SHA-256 over the files, by name."""
    files = {folder / name for name in weights.values()}
    files |= {path.with_suffix(".bin") for path in files if path.suffix == ".xml"}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def write_document(folder: Path, document: dict[str, Any]) -> None:
    """Writes model.json and code/inference.py beside the weights.

    Raises:
        TrainingError: If the document does not fit model.schema.json.
    """
    schema = json.loads(importlib.resources.files(__package__).joinpath("model.schema.json").read_text("utf-8"))
    try:
        jsonschema.validate(document, schema)
    except jsonschema.ValidationError as error:
        raise TrainingError(f"model.json would be invalid at {error.json_path}: {error.message}") from error
    (folder / "model.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_bytes(Path(inference.__file__).read_bytes())


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder's content as tar.gz: the same content gives the same bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in _sorted_files(folder):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)


def _sorted_files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
