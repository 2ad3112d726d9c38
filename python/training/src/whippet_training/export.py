"""Packs backbone and head into one network and writes it as a model archive.

The archive holds the network as OpenVINO IR for servers that have OpenVINO, as TorchScript for AWS's PyTorch container,
whose PyTorch (2.5, 2.6) does not read the newer torch.export files of a later PyTorch, and, where the packages of the
extra ``onnx`` are installed, as ONNX for what is smaller than both.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import importlib.util
import io
import json
import re
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
ONNX_FILE = "model.onnx"
ONNX_OPSET = 17
"""PyTorch 2.5 writes it too, and ONNX Runtime reads it from 1.12 on."""

_NUMBERED = rb"___torch_mangle_(\d+)"

LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit between the trained head on cached features and an exported network. Engines sum in
different orders, which moves logits of size 10 in their fifth digit."""


def write_weights(folder: Path, backbone: Backbone, head: Head) -> dict[str, str]:
    """Writes the network in every format this machine can write.

    Returns:
        The ``weights`` object of model.json.
    """
    weights = {}
    network = torch.nn.Sequential(backbone.module, head.module()).eval().requires_grad_(False)
    side = backbone.preprocessing.crop
    with _one_thread():
        if importlib.util.find_spec("openvino"):
            _write_openvino(folder / OPENVINO_FILE, backbone, head)
            weights["openvino"] = OPENVINO_FILE
        _write_torchscript(folder / TORCHSCRIPT_FILE, network, side)
        weights["torchscript"] = TORCHSCRIPT_FILE
        # onnxruntime too, since what is written is verified
        has_onnx = all(map(importlib.util.find_spec, ("onnx", "onnxruntime")))
        if has_onnx and _write_onnx(folder / ONNX_FILE, network, side):
            weights["onnx"] = ONNX_FILE
    return weights


@contextmanager
def _one_thread() -> Iterator[None]:
    """Gives PyTorch one core for its few photos: on a busy machine its threads wait longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_onnx(path: Path, network: torch.nn.Module, side: int) -> bool:
    """Writes ONNX, the photos' number left open; False if the backbone holds an operation that ONNX has no word for."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's age, and of Python branches over fixed shapes
        try:
            torch.onnx.export(
                network,
                (torch.zeros(1, 3, side, side),),
                written,  # type: ignore[arg-type]  # a file object, which 2.5 to 2.14 take
                input_names=["photo"],
                output_names=["logits"],
                dynamic_axes={"photo": {0: "photos"}, "logits": {0: "photos"}},
                opset_version=ONNX_OPSET,
                dynamo=False,  # the newer exporter needs onnxscript, and ten times as long
            )
        except torch.onnx.errors.OnnxExporterError:
            return False
    with _told_of(path):
        path.write_bytes(written.getbuffer())
    return True


def _write_torchscript(path: Path, network: torch.nn.Module, side: int) -> None:
    traced_file = io.BytesIO()
    with warnings.catch_warnings():
        # PyTorch prefers torch.export now; the container that reads this file is older than that format
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", category=TracerWarning)
        # Classes of earlier traces would share their names with this one's
        torch._C._jit_clear_class_registry()
        traced = torch.jit.trace(network, torch.zeros(2, 3, side, side), check_trace=False)
        torch.jit.save(traced, traced_file)
    traced_file.seek(0)
    _write_canonical(traced_file, path)


def _write_canonical(traced: io.BytesIO, path: Path) -> None:
    """Writes a TorchScript file without what depends on the process: same network, same bytes.

    PyTorch numbers classes of one name by all that the process has traced before, and keeps the call stack of the
    trace beside the code.
    """
    reader = torch._C.PyTorchFileReader(traced)
    records = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl") and not name.startswith(".data/") and name != "version"
    }
    numbers = {number for name in records for number in re.findall(_NUMBERED, name.encode())}
    rank = {number: b"%d" % i for i, number in enumerate(sorted(numbers, key=int))}

    def renamed(text: bytes) -> bytes:
        return re.sub(_NUMBERED, lambda found: b"___torch_mangle_" + rank[found[1]], text)

    with _told_of(path):
        writer = torch._C.PyTorchFileWriter(str(path))
        writer.set_min_version(int(reader.get_record("version")))
        for name, content in sorted((renamed(name.encode()).decode(), content) for name, content in records.items()):
            # In pickles such names end with a line break; none has its length before it
            text = renamed(content) if name.endswith((".py", ".pkl")) else content
            writer.write_record(name, text, len(text))
        writer.write_end_of_file()


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Says in one line that a file cannot be written: the libraries raise RuntimeErrors of their own."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{path.name} cannot be written to {path.parent}: is the disk full?") from error


def _write_openvino(path: Path, backbone: Backbone, head: Head) -> None:
    import openvino
    from openvino import opset13 as ops

    model = openvino_backbone(backbone).clone()
    values = model.outputs[0].get_node().input_value(0)
    for number, (weights, biases) in enumerate(head.layers):
        if number:
            values = ops.relu(values)
        product = ops.matmul(values, ops.constant(weights), transpose_a=False, transpose_b=True)
        values = ops.add(product, ops.constant(biases))
    network = openvino.Model([values], model.get_parameters(), "whippet")
    network.outputs[0].get_tensor().set_names({"logits"})
    for number, node in enumerate(network.get_ordered_ops()):
        # OpenVINO numbers a node that has no name by all that the process has made before
        if re.fullmatch(r"[A-Za-z]+_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{number}")
    with _told_of(path):
        openvino.save_model(network, path, compress_to_fp16=False)


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
    loaders = {
        "openvino": inference.load_openvino,
        "onnx": inference.load_onnx,
        "torchscript": inference.load_torch,
    }
    for name, file in weights.items():
        with _one_thread():
            answers = loaders[name](folder / file)(photos)
        difference = float(np.abs(answers - logits).max())
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
