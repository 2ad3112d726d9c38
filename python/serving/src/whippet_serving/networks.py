"""The network on OpenVINO, on ONNX Runtime and on PyTorch: how each is loaded, and how it answers for photos."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from whippet_serving.preprocessing import Preprocessing
from whippet_serving.priority import give_way

logger = logging.getLogger("whippet_serving")

Pixels = npt.NDArray[np.uint8]
"""RGB pixels of photos [photos, crop, crop, 3]."""

Logits = npt.NDArray[np.float32]
"""Scores before softmax [photos, classes]."""

Runner = Callable[[Pixels], Logits]
"""Answers for a batch of photos; several threads may call it at once."""

HALF_TOLERANCE = 0.005
"""Largest difference of a softmax score at which a GPU computes in half precision."""


NOISE_PICTURES = (4, 4, 16, 16, 64, 64)
"""Squares a side of the pictures on which is measured how far bfloat16 moves logits: on these, EfficientNet-Lites' move
by up to twice and a half as much as on dog photos."""

CLOSE = 3.0
"""Best classes that are nearer to each other than so many times what bfloat16 moves logits by are settled in float32.
Of 1,271 dog photos, bfloat16 gave 3 of Lite0's, 7 of Lite1's and 4 of Lite1 and Lite2 joined another first answer, the
farthest of them 2.2 times apart; settled so, none."""

BEARABLE = 0.2
"""Of the spread of a network's logits, how much bfloat16 may move them; Lites': 0.03 to 0.1. With more, most photos
would be settled in float32 anyway."""


class Precision(StrEnum):
    """What a network computes in.

    bfloat16 takes half the time where a processor has it. ``auto`` takes it there, and asks again in float32 where two
    classes come close, so that first answers are float32's. On a GPU it takes float16, where scores hold.
    """

    AUTO = "auto"
    FLOAT32 = "float32"


class Network(Protocol):
    """Loaded weights.

    Attributes:
        precision: What it computes in: float32, bfloat16 or float16.
        batches: Whether one call with several photos can be faster than a call for each, so that trying it is worth
            the time.
        divides: Whether runners with different numbers of streams can be used side by side.
    """

    precision: str
    batches: bool
    divides: bool

    def runner(self, streams: int, batch: int) -> Runner:
        """Prepares the network for a way of asking it.

        Args:
            streams: How many photos are worked on at once; the threads are divided among them.
            batch: How many photos a call may hold.
        """

    def settled(self, runner: Runner) -> Runner:
        """Makes a runner's first answers those of float32, where it computes in less and they may differ."""


class OpenVINONetwork:
    """The network on OpenVINO, with normalisation as a part of the graph.

    Each way of asking is compiled of its own: 0.1 s and 25 MB for EfficientNet-Lite0, the weights being mapped from one
    file. Batches do not pay on a CPU: 8 photos in a call take each of them as long as alone, or longer.
    """

    batches = False
    divides = True

    def __init__(
        self, weights: Path, preprocessing: Preprocessing, threads: int, precision: Precision = Precision.AUTO
    ) -> None:
        import openvino

        self._threads = threads
        self._preprocessing = preprocessing
        core = openvino.Core()
        self._model = core.read_model(weights)
        self.precision = "float32"
        if precision is Precision.AUTO and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            self._exact, self._rough = (self._runner(kind, streams=1, batch=1) for kind in ("f32", "bf16"))
            self._noise = self._measured_noise()
            if math.isfinite(self._noise):
                self.precision = "bfloat16"
            else:
                del self._exact, self._rough

    def runner(self, streams: int, batch: int) -> Runner:
        """See `Network`."""
        if self.precision == "float32":
            return self._runner("f32", streams, batch)
        return self._rough if streams == batch == 1 else self._runner("bf16", streams, batch)

    def settled(self, runner: Runner) -> Runner:
        """See `Network`."""
        return runner if self.precision == "float32" else settled(runner, self._exact, CLOSE * self._noise)

    def _measured_noise(self) -> float:
        """By how much bfloat16 moves a logit on pictures made up; infinite if that is more than the network bears."""
        side = self._preprocessing.crop
        squares = np.random.default_rng(0)
        exact_logits, rough_logits = [], []
        for count in NOISE_PICTURES:
            of = np.arange(side) * count // side
            picture = squares.integers(0, 256, (count, count, 3), dtype=np.uint8)[of][:, of][np.newaxis]
            exact_logits.append(self._exact(picture))
            rough_logits.append(self._rough(picture))
        # what moves all logits of a picture alike moves no answer
        exact, moved = (
            logits - logits.mean(axis=1, keepdims=True)
            for logits in (np.concatenate(exact_logits), np.concatenate(rough_logits) - np.concatenate(exact_logits))
        )
        noise, spread = (float(np.sqrt(np.square(logits).mean())) for logits in (moved, exact))
        if noise <= BEARABLE * spread:  # false for NaN
            return noise
        logger.info("The network does not bear bfloat16: it computes in float32")
        return math.inf

    def _runner(self, precision: str, streams: int, batch: int) -> Runner:
        import openvino

        side = self._preprocessing.crop
        graph = self._model.clone()
        # a fixed shape lets OpenVINO plan its memory once
        graph.reshape([openvino.Dimension(1, batch) if batch > 1 else 1, 3, side, side])
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self._threads,
            # OpenVINO's own choice would be bf16 wherever the processor has it, whatever becomes of the answers
            "INFERENCE_PRECISION_HINT": precision,
        }
        model = _compiled(_normalising(graph, self._preprocessing), settings)
        own = threading.local()

        def answer(photos: Pixels) -> Logits:
            if not hasattr(own, "request"):
                own.request = model.create_infer_request()
            # OpenVINO's infer() would look at the photos' type in Python for a tenth of a millisecond; it reads this
            # memory without owning it, so that the array must live until it has answered
            pixels = np.require(photos, requirements=("C", "W"))
            own.request.set_input_tensor(openvino.Tensor(pixels, shared_memory=True))
            own.request.start_async()
            own.request.wait()
            # the request's output is overwritten by its next run, hence the copy
            logits: Logits = own.request.get_output_tensor().data.copy()
            return logits

        return answer


def settled(rough: Runner, exact: Runner, close: float) -> Runner:
    """A runner that asks once more, and exactly, about the photos whose two best classes it cannot tell apart.

    Args:
        rough: Answers for all photos.
        exact: Answers for one photo.
        close: Logits that differ by less are too close to tell.
    """

    def answer(photos: Pixels) -> Logits:
        logits = rough(photos)
        if logits.shape[1] > 1:
            best = np.partition(logits, -2, axis=1)[:, -2:]
            for index in np.flatnonzero(~(best[:, 1] - best[:, 0] >= close)):  # NaN is not told apart either
                logits[index] = exact(photos[index : index + 1])[0]
        return logits

    return answer


def _compiled(model: Any, settings: dict[str, Any]) -> Any:
    """A compiled model; its compiling has a thread of its own.

    OpenVINO gives the thread that compiles a stack for signals, and unmaps it when the model goes, also where it is
    still in use: the next signal, Ctrl-C for one, would end the process with a segmentation fault.

    And the threads that it starts inherit that thread's priority, so that requests are accepted or refused at once
    while all cores compute.
    """
    import openvino

    with ThreadPoolExecutor(1, initializer=give_way) as thread:
        return thread.submit(lambda: openvino.Core().compile_model(model, "CPU", settings)).result()


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


class OnnxNetwork:
    """The network on ONNX Runtime. Batches do not pay on a CPU here either: 166 photos/s against 196."""

    precision = "float32"
    batches = False
    divides = True

    def __init__(
        self, weights: Path, preprocessing: Preprocessing, threads: int, precision: Precision = Precision.AUTO
    ) -> None:
        self._weights = weights.read_bytes()
        self._preprocessing = preprocessing
        self._threads = threads

    def runner(self, streams: int, batch: int) -> Runner:
        """See `Network`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are of no use to whoever runs a server
        options.intra_op_num_threads = max(1, self._threads // streams)
        # Threads that wait busily take the cores from the decoding of the next photos: 167 ms against 11 were measured
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with _runtime_errors():
            session = onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        mean, std = (np.array(values, np.float32)[:, np.newaxis, np.newaxis] for values in _scales(self._preprocessing))

        def answer(photos: Pixels) -> Logits:
            values = np.empty((len(photos), 3, *photos.shape[1:3]), dtype=np.float32)
            values[:] = photos.transpose(0, 3, 1, 2)
            values -= mean
            values /= std
            with _runtime_errors():
                logits: Logits = session.run(None, {name: values})[0]
            return logits

        return answer

    def settled(self, runner: Runner) -> Runner:
        """See `Network`."""
        return runner


@contextmanager
def _runtime_errors() -> Iterator[None]:
    """Give ONNX Runtime's errors, which have no class of their own in common, that of the other libraries'."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(str(error)) from error


class TorchNetwork:
    """The network on PyTorch, from TorchScript: on the GPU if there is one.

    ``torch.compile`` has no say here: it does not look into TorchScript, which is what the archive holds because
    PyTorch's newer files do not go back to the version in AWS's container; and it would compile for longer than a
    server may take to start. PyTorch's own optimisation of TorchScript gives half as much throughput again.

    PyTorch makes a set of threads for every thread that asks it, and such sets starve each other. Hence as many threads
    ask it as there are streams, each with a set of its own, and callers wait for one of them.
    """

    precision = "float32"
    divides = True

    def __init__(
        self, weights: Path, preprocessing: Preprocessing, threads: int, precision: Precision = Precision.AUTO
    ) -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # which keeps ten bits of float32, and float16 is faster
        self._torch = torch
        self._threads = threads
        self._side = preprocessing.crop
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._type = torch.float32
        self.batches = self._device.type == "cuda"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, but AWS's container loads it
            self._network = torch.jit.load(str(weights), map_location=self._device).eval()
            if self.batches:
                self._on_gpu(weights, precision)
            else:
                self._network = torch.jit.optimize_for_inference(self._network)
        mean, std = _scales(preprocessing)
        self._mean = torch.tensor(mean, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(3, 1, 1)

    def runner(self, streams: int, batch: int) -> Runner:
        """See `Network`."""
        torch = self._torch
        threads = max(1, self._threads // streams)

        def divide() -> None:
            torch.get_num_threads()  # a thread's first question sets its number anew
            torch.set_num_threads(threads)

        pool = ThreadPoolExecutor(streams, thread_name_prefix="torch", initializer=divide)

        def answer(photos: Pixels) -> Logits:
            return pool.submit(self._answer, photos).result()

        return answer

    def settled(self, runner: Runner) -> Runner:
        """See `Network`; float16 is taken only where scores hold."""
        return runner

    def _answer(self, photos: Pixels) -> Logits:
        torch = self._torch
        with torch.inference_mode():
            # bytes cross to the GPU, a quarter of what floats would be
            values = torch.from_numpy(photos.copy()).to(self._device).permute(0, 3, 1, 2).to(torch.float32)
            values = values.sub_(self._mean).div_(self._std).to(self._type)
            if self.batches:
                values = values.contiguous(memory_format=torch.channels_last)
            logits: Logits = self._network(values).float().cpu().numpy()
        return logits

    def _on_gpu(self, weights: Path, precision: Precision) -> None:
        """Take channels-last, which convolutions on a GPU are written for, and half precision if scores hold."""
        torch = self._torch
        self._network = self._network.to(memory_format=torch.channels_last)
        if precision is Precision.FLOAT32:
            return
        values = torch.randn(4, 3, self._side, self._side, generator=torch.Generator().manual_seed(0))
        values = values.to(self._device).contiguous(memory_format=torch.channels_last)
        half = torch.jit.load(str(weights), map_location=self._device).eval().half()
        with torch.inference_mode():
            exact = self._network(values).float().softmax(dim=1)
            try:
                rough = half.to(memory_format=torch.channels_last)(values.half()).float().softmax(dim=1)
            except RuntimeError:  # a network whose trace names its precision
                return
            if bool((rough - exact).abs().max() <= HALF_TOLERANCE):  # false for NaN
                self._network, self._type, self.precision = half, torch.float16, "float16"


def _scales(preprocessing: Preprocessing) -> tuple[list[float], list[float]]:
    """Mean and standard deviation on the scale 0..255."""
    return [255 * value for value in preprocessing.mean], [255 * value for value in preprocessing.std]
