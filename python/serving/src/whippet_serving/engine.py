"""Runs the network: on OpenVINO, or on PyTorch where OpenVINO is missing."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from whippet_serving.archive import Archive, ModelError, Preprocessing
from whippet_serving.photo import Pixels

Logits = npt.NDArray[np.float32]
"""One score per class [classes], before softmax."""


class Engine(Protocol):
    """A loaded network. Several threads may ask it at once."""

    name: str

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        """Answer for one photo.

        Args:
            pixels: uint8 RGB [crop, crop, 3]; the engine normalises them.
            alone: No other photo is being worked on, so that this one may use all cores.
        """


class EngineChoice(StrEnum):
    """Which engine serves; ``auto`` takes OpenVINO where it is installed, else PyTorch."""

    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH = "torch"


def load_engine(archive: Archive, choice: EngineChoice, threads: int) -> Engine:
    """Load the weights and let the network answer once for a blank photo.

    Args:
        archive: Names the weights; they are not needed again once this returns.
        choice: The engine, or ``auto``.
        threads: How many cores the network may use.

    Raises:
        ModelError: If no engine fits the archive and this installation, or the weights do not fit model.json.
    """
    name = _choose(archive, choice)
    format_, engine_type = _ENGINES[name]
    weights = archive.weights_file(format_)
    try:
        importlib.import_module(name)
    except Exception as error:
        raise ModelError(f"{name} is installed, but cannot be imported: {_last_line(error)}") from error
    try:
        engine = engine_type(weights, archive.preprocessing, threads)
        side = archive.preprocessing.crop
        logits = engine(np.zeros((side, side, 3), dtype=np.uint8), alone=True)
    except (RuntimeError, ValueError) as error:  # what both libraries raise for files they cannot take
        raise ModelError(f"{weights.name} cannot be loaded ({_last_line(error)}): pack the archive again") from error
    if logits.shape != (len(archive.classes),):
        raise ModelError(
            f"{weights.name} answers with the shape {logits.shape}, but model.json names "
            f"{len(archive.classes)} classes: pack the archive again"
        )
    return engine


def _choose(archive: Archive, choice: EngineChoice) -> EngineChoice:
    wanted = list(_ENGINES) if choice is EngineChoice.AUTO else [choice]
    fitting = [name for name in wanted if _ENGINES[name][0] in archive.weights]
    if not fitting:
        raise ModelError(f"the archive holds no weights for {choice}: choose another with --engine")
    for name in fitting:
        if importlib.util.find_spec(name):
            return name
    raise ModelError(f"the archive's weights need a package that is not installed: pip install {' or '.join(fitting)}")


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]


class OpenVINOEngine:
    """The network on OpenVINO, with normalisation as a part of the graph.

    It is compiled twice. A photo that is alone gets all cores, for a shorter answer; photos at once get a core each,
    since photos that share all cores spend their time waiting for each other.
    """

    name = "openvino"

    def __init__(self, weights: Path, preprocessing: Preprocessing, threads: int) -> None:
        import openvino

        model = openvino.Core().read_model(weights)
        model.reshape([1, 3, preprocessing.crop, preprocessing.crop])
        graph = _normalising(model, preprocessing)
        self._all_cores = _Compiled(graph, streams=1, threads=threads)
        self._core_each = _Compiled(graph, streams=threads, threads=threads) if threads > 1 else self._all_cores

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        """See `Engine`."""
        return (self._all_cores if alone else self._core_each)(pixels)


class _Compiled:
    """A compiled graph with one inference request per calling thread."""

    def __init__(self, graph: Any, streams: int, threads: int) -> None:
        import openvino

        # in f32, as training computed: by default OpenVINO takes bf16 where the processor has it, and scores move
        settings = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self._model = openvino.Core().compile_model(graph, "CPU", settings)
        self._local = threading.local()

    def __call__(self, pixels: Pixels) -> Logits:
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        # the request's output is overwritten by its next run, hence the copy
        logits: Logits = self._local.request.infer([pixels[np.newaxis]], share_outputs=True)[0][0].copy()
        return logits


def _normalising(model: Any, preprocessing: Preprocessing) -> Any:
    """Put the way from uint8 NHWC pixels to the network's input in front of it, where it costs next to nothing."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    processor = PrePostProcessor(model)
    photo = processor.input()
    photo.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    photo.model().set_layout(Layout("NCHW"))
    steps = photo.preprocess().convert_element_type(Type.f32)
    steps.mean([255 * value for value in preprocessing.mean]).scale([255 * value for value in preprocessing.std])
    return processor.build()


class TorchEngine:
    """The network on PyTorch, from TorchScript, with one core for each photo.

    PyTorch makes a set of threads for every caller; more than one each, and callers at once starve each other.
    """

    name = "torch"

    def __init__(self, weights: Path, preprocessing: Preprocessing, threads: int) -> None:
        import torch

        torch.set_num_threads(1)
        self._torch = torch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, but AWS's container loads it
            network = torch.jit.load(str(weights), map_location="cpu").eval()
            self._network = torch.jit.optimize_for_inference(network)  # half as much throughput again
        self._mean = torch.tensor(preprocessing.mean).view(3, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(3, 1, 1)

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        """See `Engine`."""
        torch = self._torch
        with torch.inference_mode():
            photo = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
            photo = photo.div_(255).sub_(self._mean).div_(self._std)
            logits: Logits = self._network(photo.unsqueeze(0))[0].numpy()
        return logits


_ENGINES: dict[EngineChoice, tuple[str, Callable[[Path, Preprocessing, int], Engine]]] = {
    EngineChoice.OPENVINO: ("openvino", OpenVINOEngine),
    EngineChoice.TORCH: ("torchscript", TorchEngine),
}
"""The engines in the order of preference, each with the format of its weights in model.json."""
