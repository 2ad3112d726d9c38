"""Runs a frozen backbone over many photos: OpenVINO on the CPU, PyTorch where there is a GPU or no OpenVINO."""

from __future__ import annotations

import copy
import importlib.util
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from whippet_training.backbones import Backbone
from whippet_training.errors import TrainingError
from whippet_training.inference import Floats, Pixels, Preprocessing, compile_openvino
from whippet_training.profiling import phase

CUDA_BATCH = 64

_READ_AHEAD = 4
"""Prepared photos that wait for PyTorch, per preparing thread."""

Prepare = Callable[[int], Sequence[Pixels] | None]
Sink = Callable[[int, Floats], None]


class Engine(Protocol):
    """Computes features of photos.

    Attributes:
        name: Name and version: features of different engines differ in their last bits.
    """

    name: str

    def run(self, count: int, prepare: Prepare, sink: Sink) -> None:
        """Computes the features of photos 0 to ``count - 1``.

        Args:
            count: Number of photos.
            prepare: Returns the pixels of a photo's views, each uint8 [crop, crop, 3], or None to pass the photo
                over; called from threads.
            sink: Receives number and features [V, width], in any order, one call at a time.
        """


class OpenVinoEngine:
    """OpenVINO on all cores, one view per request, so that a feature does not depend on its neighbours.

    Each thread prepares a photo and infers it before it takes the next, so that the photo is still in the core's cache:
    against a queue between decoding and inferring threads that saves a third of the time. Two threads more than cores
    keep these busy while a thread waits for another to leave Python.
    """

    def __init__(self, backbone: Backbone) -> None:
        import openvino

        self.name = f"openvino-{openvino.__version__}"
        self._backbone = backbone
        self._threads = (os.cpu_count() or 1) + 2

    def run(self, count: int, prepare: Prepare, sink: Sink) -> None:
        """See Engine."""
        with phase("compile"):
            compiled = compile_openvino(
                _one_photo(openvino_backbone(self._backbone), self._backbone.preprocessing), "THROUGHPUT"
            )
        lock = threading.Lock()
        own = threading.local()

        def open_request() -> None:
            own.request = compiled.create_infer_request()
            own.photo = own.request.get_input_tensor().data[0]
            own.feature = own.request.get_output_tensor().data[0]

        def work(number: int) -> None:
            views = prepare(number)
            if views is None:
                return
            if not hasattr(own, "request"):
                open_request()
            features = np.empty((len(views), self._backbone.width), dtype=np.float32)
            for view, feature in zip(views, features, strict=True):
                with phase("forward"):
                    own.photo[:] = view
                    own.request.start_async()
                    own.request.wait()
                feature[:] = own.feature
            with lock:
                sink(number, features)

        pool = ThreadPoolExecutor(self._threads)
        try:
            for _ in pool.map(work, range(count)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


class TorchEngine:
    """PyTorch: a view at a time on the CPU, batches of one fixed size on a GPU."""

    def __init__(self, backbone: Backbone) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._preprocessing = backbone.preprocessing
        self._batch = CUDA_BATCH if self._device.type == "cuda" else 1
        self._module = copy.deepcopy(backbone.module).to(self._device)
        self.name = f"torch-{torch.__version__}-{self._device.type}"

    def run(self, count: int, prepare: Prepare, sink: Sink) -> None:
        """See Engine."""
        views = (
            (number, len(batch), view)
            for number, batch in zip(range(count), _read_ahead(prepare, count), strict=True)
            if batch is not None
            for view in batch
        )
        features: list[Floats] = []
        while chunk := list(islice(views, self._batch)):
            # A short batch is padded: kernels are chosen by shape, and a photo's bits must not depend on that.
            padding = [chunk[0][2]] * (self._batch - len(chunk))
            batch = torch.from_numpy(np.stack([view for *_, view in chunk] + padding))
            with torch.inference_mode(), phase("forward"):
                answers = self._module(self._normalise(batch.to(self._device))).cpu().numpy()
            for (number, count_of_photo, _), feature in zip(chunk, answers, strict=False):
                features.append(feature)
                if len(features) == count_of_photo:
                    sink(number, np.stack(features))
                    features = []

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, std = (
            torch.tensor(values, device=pixels.device).reshape(3, 1, 1)
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def create_engine(name: str, backbone: Backbone) -> Engine:
    """Creates an engine: ``openvino``, ``torch``, or the faster one that is there (``auto``).

    Raises:
        TrainingError: If OpenVINO is asked for and not installed.
    """
    has_openvino = importlib.util.find_spec("openvino") is not None
    if name == "openvino" and not has_openvino:
        raise TrainingError("OpenVINO is not installed: pip install openvino, or pass --engine torch.")
    if name == "torch" or not has_openvino or (name == "auto" and torch.cuda.is_available()):
        return TorchEngine(backbone)
    return OpenVinoEngine(backbone)


@lru_cache(maxsize=1)
def openvino_backbone(backbone: Backbone) -> Any:
    """Converts a backbone to an OpenVINO model: input ``photo`` [N, 3, crop, crop], output features [N, width]."""
    import openvino

    side = backbone.preprocessing.crop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of Python branches over fixed shapes
        model = openvino.convert_model(
            backbone.module, example_input=torch.zeros(1, 3, side, side), input=[(-1, 3, side, side)]
        )
    model.inputs[0].get_tensor().set_names({"photo"})
    return model


def _read_ahead(prepare: Prepare, count: int) -> Iterator[Sequence[Pixels] | None]:
    """Prepares photos in threads, in order, a bounded number ahead of the reader."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[Sequence[Pixels] | None]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for number in range(count):
            waiting.append(pool.submit(prepare, number))
            if len(waiting) == workers * _READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one_photo(model: Any, preprocessing: Preprocessing) -> Any:
    """Makes a backbone take one photo's pixels, uint8 [1, crop, crop, 3]."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    # A fixed shape lets OpenVINO plan its memory once: a third less time per photo than with a dynamic batch
    fixed = model.clone()
    fixed.reshape([1, 3, preprocessing.crop, preprocessing.crop])
    processor = PrePostProcessor(fixed)
    photo = processor.input()
    photo.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    photo.model().set_layout(Layout("NCHW"))
    steps = photo.preprocess().convert_layout(Layout("NCHW")).convert_element_type(Type.f32)
    steps.mean([255 * value for value in preprocessing.mean]).scale([255 * value for value in preprocessing.std])
    return processor.build()
