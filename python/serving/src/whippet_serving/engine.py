"""Runs the network: on OpenVINO, ONNX Runtime or PyTorch, in the way that a short measurement finds best."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from whippet_serving.archive import Archive, ModelError
from whippet_serving.batching import Batched
from whippet_serving.networks import Network, OnnxNetwork, OpenVINONetwork, Precision, Runner, TorchNetwork
from whippet_serving.photo import Pixels
from whippet_serving.preprocessing import Preprocessing
from whippet_serving.warm_up import MARGIN, Tuned, tune

Logits = npt.NDArray[np.float32]
"""One score per class [classes], before softmax."""

logger = logging.getLogger("whippet_serving")

_GPU = Path("/dev/nvidiactl")
"""What NVIDIA's driver makes; to ask PyTorch would take the seconds of its import."""


class Engine(Protocol):
    """A loaded network. Several threads may ask it at once.

    Attributes:
        name: Which engine it is.
        callers: How many threads should ask at once to keep the hardware busy.
    """

    name: str
    callers: int

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        """Answer for one photo.

        Args:
            pixels: uint8 RGB [crop, crop, 3]; the engine normalises them.
            alone: No other photo is being worked on, so that this one may use all cores.
        """


class EngineChoice(StrEnum):
    """Which engine serves; ``auto`` takes OpenVINO where it is installed, else ONNX Runtime, else PyTorch."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNX = "onnx"
    TORCH = "torch"


@dataclass(frozen=True)
class EngineSettings:
    """What of the engine is fixed; the warm-up measures the rest.

    Attributes:
        choice: The engine. ``auto`` takes PyTorch if it has a GPU, else the first of OpenVINO, ONNX Runtime and PyTorch
            that fits the archive and is installed, unless the warm-up has time for another and finds it a quarter
            faster; where OpenVINO computes in bfloat16 no other is tried.
        threads: How many cores the network may use; all that the process may, if None.
        streams: How many photos are worked on at once, each by its share of the threads.
        batch: How many photos may go in one call; 1 for no batches.
        batch_window_s: How long a batch waits for more photos.
        warm_up_s: How long is measured at most, beside loading; with 0 nothing is.
        precision: What the network computes in.
    """

    choice: EngineChoice = EngineChoice.AUTO
    threads: int | None = None
    streams: int | None = None
    batch: int | None = None
    batch_window_s: float = 0.0
    warm_up_s: float = 0.3
    precision: Precision = Precision.AUTO


class _Kind(NamedTuple):
    format: str
    package: str
    load: Callable[[Path, Preprocessing, int, Precision], Network]


_ENGINES: dict[EngineChoice, _Kind] = {
    EngineChoice.OPENVINO: _Kind("openvino", "openvino", OpenVINONetwork),
    EngineChoice.ONNX: _Kind("onnx", "onnxruntime", OnnxNetwork),
    EngineChoice.TORCH: _Kind("torchscript", "torch", TorchNetwork),
}
"""The engines in the order of preference, each with the format of its weights in model.json and its package."""


class _Direct:
    """An engine that calls the network once for each photo."""

    def __init__(self, name: str, alone: Runner, together: Runner, callers: int) -> None:
        self.name = name
        self.callers = callers
        self._alone = alone
        self._together = together

    def __call__(self, pixels: Pixels, alone: bool) -> Logits:
        """See `Engine`."""
        logits: Logits = (self._alone if alone else self._together)(pixels[np.newaxis])[0]
        return logits


def load_engine(archive: Archive, settings: EngineSettings) -> Engine:
    """Load the weights, measure how the network is best asked, and say so in the log.

    Args:
        archive: Names the weights; they are not needed again once this returns.
        settings: What is not to be measured.

    Raises:
        ModelError: If no engine fits the archive and this installation, or the weights do not fit model.json.
    """
    threads = settings.threads or available_cores()
    until = time.perf_counter() + settings.warm_up_s
    networks: dict[EngineChoice, Network] = {}
    tuned: dict[EngineChoice, Tuned] = {}
    candidates = _candidates(archive, settings.choice)
    best = candidates[-1]
    for name in candidates:
        if tuned and (time.perf_counter() >= until or networks[best].precision == "bfloat16"):
            break  # of the others, none is faster than bfloat16, and loading one takes 120 MB
        start = time.perf_counter()
        network = networks[name] = _load(name, archive, threads, settings.precision)
        until += 0.0 if tuned else time.perf_counter() - start  # loading the first is no measurement
        if name is EngineChoice.TORCH and name is not candidates[-1] and not network.batches:
            continue  # there is a GPU, but this PyTorch cannot use it
        best = best if tuned else name
        tuned[name] = _tune(name, network, archive, settings, threads, until)
        if tuned[name].best.rate > MARGIN * tuned[best].best.rate > 0:
            best = name
    logger.info(
        "Engine: %s in %s, %d threads, %s, %.1f ms alone%s",
        best,
        networks[best].precision,
        threads,
        tuned[best].best,
        1000 * tuned[best].alone_s,
        _others(tuned, best),
    )
    return _engine(best, networks[best], tuned[best], settings)


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _candidates(archive: Archive, choice: EngineChoice) -> list[EngineChoice]:
    wanted = list(_ENGINES) if choice is EngineChoice.AUTO else [choice]
    fitting = [name for name in wanted if _ENGINES[name].format in archive.weights]
    if not fitting:
        raise ModelError(f"the archive holds no weights for {choice}: choose another with --engine")
    installed = [name for name in fitting if importlib.util.find_spec(_ENGINES[name].package)]
    if not installed:
        packages = " or ".join(_ENGINES[name].package for name in fitting)
        raise ModelError(f"the archive's weights need a package that is not installed: pip install {packages}")
    others: list[EngineChoice] = [name for name in installed if name is not EngineChoice.TORCH]
    if len(others) == len(installed) or not others:
        return installed
    return [EngineChoice.TORCH, *others] if _GPU.exists() else others


def _load(name: EngineChoice, archive: Archive, threads: int, precision: Precision) -> Network:
    kind = _ENGINES[name]
    weights = archive.weights_file(kind.format)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime looks for it as it is imported
    try:
        importlib.import_module(kind.package)
    except Exception as error:
        raise ModelError(f"{kind.package} is installed, but cannot be imported: {_last_line(error)}") from error
    try:
        return kind.load(weights, archive.preprocessing, threads, precision)
    except (RuntimeError, ValueError) as error:  # what the libraries raise for files they cannot take
        raise _cannot_load(weights, error) from error


def _tune(
    name: EngineChoice, network: Network, archive: Archive, settings: EngineSettings, threads: int, until: float
) -> Tuned:
    weights = archive.weights_file(_ENGINES[name].format)
    side = archive.preprocessing.crop
    try:
        tuned = tune(network, side, threads, settings.streams, settings.batch, until)
        shape = tuned.alone(np.zeros((1, side, side, 3), dtype=np.uint8)).shape
    except (RuntimeError, ValueError) as error:
        raise _cannot_load(weights, error) from error
    if shape != (1, len(archive.classes)):
        raise ModelError(
            f"{weights.name} answers with the shape {shape[1:]}, but model.json names "
            f"{len(archive.classes)} classes: pack the archive again"
        )
    return tuned


def _engine(name: EngineChoice, network: Network, tuned: Tuned, settings: EngineSettings) -> Engine:
    together = network.settled(tuned.best.runner)
    if tuned.best.batch > 1:
        return Batched(name, together, tuned.best.batch, settings.batch_window_s)
    return _Direct(name, network.settled(tuned.alone), together, tuned.best.streams)


def _others(tuned: dict[EngineChoice, Tuned], best: EngineChoice) -> str:
    ways = [(name, way) for name, one in tuned.items() for way in one.tried if way is not tuned[best].best]
    others = [f"{name} {way}" for name, way in ways if way.rate]
    return f" (tried {'; '.join(others)})" if others else ""


def _cannot_load(weights: Path, error: Exception) -> ModelError:
    return ModelError(f"{weights.name} cannot be loaded ({_last_line(error)}): pack the archive again")


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
