"""Decodes photos and answers for them: training's own preprocessing, and ``code/inference.py`` of every model archive.

Training decodes with the functions here and then copies this very file into the archive, where AWS's PyTorch container
calls its four hooks (``model_fn``, ``input_fn``, ``predict_fn``, ``output_fn``). Preprocessing therefore cannot drift
between the two. The file runs alone: Python 3.10, numpy, Pillow, and OpenVINO, ONNX Runtime or PyTorch.

How the container calls the hooks, and what it does with an exception:
https://github.com/aws/sagemaker-inference-toolkit/blob/master/src/sagemaker_inference/transformer.py
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

CONTENT_TYPES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""Media types of the photos that are served, and Pillow's names for them."""

MAX_PIXELS = 50_000_000
"""Largest photo that is decoded: 50 megapixels take 150 MB as RGB, and no phone's default photo is larger."""

MAX_SCANS = 32
"""Most scans of a progressive JPEG that is sent. Encoders write about ten; each costs a pass over the whole photo,
however few bytes it has, so that a small file could keep a core busy for minutes."""

DEFAULT_TOP_K = 5

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

if TYPE_CHECKING:
    _ToolkitError = Exception
else:
    try:
        from sagemaker_inference import content_types

        # the container's own error type carries a status code: anything else that a hook raises becomes a 500
        from sagemaker_inference.errors import BaseInferenceToolkitError as _ToolkitError
    except ImportError:
        _ToolkitError = Exception
    else:
        # The container decodes these types before the hooks see them, and a body that is not UTF-8 would get its sender
        # a stack trace; the hooks decode for themselves.
        content_types.UTF8_TYPES = []


class PhotoError(_ToolkitError):
    """A request that cannot be answered, through the caller's doing.

    Attributes:
        status_code: HTTP status, 4xx.
        message: One sentence that says what to do.
        phrase: The status's reason phrase.
    """

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        self.status_code = int(status)
        self.message = detail
        self.phrase = status.phrase
        Exception.__init__(self, detail)

    def problem(self) -> dict[str, Any]:
        """The error as an RFC 9457 problem document."""
        return {"type": "about:blank", "title": self.phrase, "status": self.status_code, "detail": self.message}


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone expects of its input.

    Attributes:
        resize: Side in pixels that the short side of the whole photo would have at the network's scale.
        crop: Side in pixels of the network's input; of the short side it shows ``crop / resize``, of the centre.
        interpolation: nearest, bilinear, bicubic or lanczos.
        mean: Subtracted per channel, on the scale 0..1.
        std: Divides per channel.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Preprocessing:
        """Reads the ``preprocessing`` object of model.json."""
        return cls(**{**document, "mean": tuple(document["mean"]), "std": tuple(document["std"])})


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes a photo to 8-bit RGB, upright, as a viewer would show it on a white page.

    Args:
        data: A JPEG, PNG or WebP file; of an animation the first frame counts.
        max_pixels: Photos with more pixels are refused from their header, before their pixels take memory.

    Raises:
        PhotoError: 415 if the bytes are not of a served type, 422 if the photo is damaged or too large.
    """
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=list(CONTENT_TYPES.values()))
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except UnidentifiedImageError as error:
        if _has_photo_signature(data):  # cut short before its header ends
            raise _damaged(error) from None
        raise PhotoError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is not a JPEG, PNG or WebP photo; send one of these."
        ) from None
    except Exception as error:  # Pillow's parsers raise whatever damaged bytes make them meet
        raise _damaged(error) from None
    if image.width * image.height > max_pixels:
        raise _too_large(max_pixels)
    try:
        image.load()
    except Exception as error:
        raise _damaged(error) from None
    with contextlib.suppress(Exception):  # damaged metadata beside sound pixels: the photo is taken as it lies
        ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def _has_photo_signature(data: bytes) -> bool:
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (data[:4], data[8:12]) == (b"RIFF", b"WEBP")


def _too_large(max_pixels: int) -> PhotoError:
    return PhotoError(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"The photo has more than {max_pixels / 1e6:g} megapixels; send a smaller one."
    )


def _damaged(error: Exception) -> PhotoError:
    told = str(error) and not isinstance(error, UnidentifiedImageError)  # whose text is an address in memory
    reason = str(error).splitlines()[0] if told else "its header cannot be read"
    return PhotoError(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"The photo is damaged or cut short ({reason}); send a complete file."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits at 255 instead of scaling them: 65535 / 255 = 257
        grey = (np.asarray(image, dtype=np.int64).clip(0, 65535) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        photo = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return image.convert("RGB")


def centre_square(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels of the photo, of what the network sees of it.

    To a pixel that is what resizing the short side and cropping the centre leaves, as torchvision does it; cut out
    first, so that only it is resized.

    Args:
        size: Width and height of the photo.
        preprocessing: The backbone's.
    """
    width, height = size
    short = min(size)
    side = min(max(1, round(short * preprocessing.crop / preprocessing.resize)), short)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crop(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Cuts out the photo's centre and resizes it.

    Returns:
        uint8 pixels [crop, crop, 3].
    """
    side = preprocessing.crop
    square = image.crop(centre_square(image.size, preprocessing))
    return np.asarray(square.resize((side, side), INTERPOLATIONS[preprocessing.interpolation]))


def normalise(pixels: Pixels, preprocessing: Preprocessing) -> Floats:
    """Turns uint8 pixels [H, W, 3] into the network's input, float32 [1, 3, H, W]."""
    batch = np.empty((1, 3, *pixels.shape[:2]), dtype=np.float32)
    batch[0] = pixels.transpose(2, 0, 1)
    # in place and channel by channel: ten times as fast as on [H, W, 3], and the same bits
    batch /= np.float32(255)
    batch -= np.asarray(preprocessing.mean, dtype=np.float32)[:, np.newaxis, np.newaxis]
    batch /= np.asarray(preprocessing.std, dtype=np.float32)[:, np.newaxis, np.newaxis]
    return batch


class Network(Protocol):
    """One input, normalised photos [N, 3, crop, crop]; one output, logits [N, classes]."""

    def __call__(self, batch: Floats) -> Floats:
        """Answers for a batch."""


@dataclass(frozen=True)
class Model:
    """A loaded archive: its model.json and the network behind it."""

    document: dict[str, Any]
    preprocessing: Preprocessing
    network: Network


@dataclass(frozen=True)
class Request:
    """A photo, ready for preprocessing, and how many predictions its sender wants."""

    photo: Image.Image
    top_k: int


def model_fn(model_dir: str, context: object = None) -> Model:
    """Loads the archive unpacked at ``model_dir`` and answers once, so that the first caller need not wait.

    ``WHIPPET_ENGINE=openvino|onnx|torch`` overrides the choice of engine: OpenVINO where it is installed, else ONNX
    Runtime, else PyTorch.

    Raises:
        RuntimeError: If the archive holds no weights for an engine that is installed.
    """
    folder = Path(model_dir)
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    preprocessing = Preprocessing.from_dict(document["preprocessing"])
    weights = {engine: document["weights"].get(format_) for engine, (format_, _, _) in _ENGINES.items()}
    wanted = os.environ.get("WHIPPET_ENGINE")
    for engine, (_, package, load) in _ENGINES.items():
        if wanted in (None, "", "auto", engine) and weights[engine] and importlib.util.find_spec(package):
            network = load(folder / weights[engine])
            network(np.zeros((1, 3, preprocessing.crop, preprocessing.crop), dtype=np.float32))
            return Model(document, preprocessing, network)
    held = ", ".join(engine for engine, name in weights.items() if name)
    raise RuntimeError(
        f"The archive holds weights for {held}; install one of these" + (f", not {wanted}." if wanted else ".")
    )


def load_openvino(path: Path) -> Network:
    """Loads an OpenVINO IR file."""
    compiled = compile_openvino(path, "LATENCY")

    def answer(batch: Floats) -> Floats:
        result: Floats = compiled(batch)[0]
        return result

    return answer


def compile_openvino(model: Any, hint: str) -> Any:
    """Compiles an OpenVINO model, or the one in a file, for THROUGHPUT or LATENCY; in a thread of its own.

    OpenVINO gives the thread that compiles a stack for signals, and unmaps it when the model goes, also where it is
    still in use: the next signal, Ctrl-C for one, would end the process with a segmentation fault.
    """
    import openvino

    # Where the CPU can, OpenVINO would compute in bfloat16, which moves the scores in their second digit.
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: openvino.Core().compile_model(model, "CPU", settings)).result()


def load_onnx(path: Path) -> Network:
    """Loads an ONNX file."""
    # else it reports to Microsoft, and keeps an id in the home folder
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings of the machine are of no use to whoever runs a container
    # Threads that wait busily take the processor from the decoding of the next photo.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    photos = session.get_inputs()[0].name

    def answer(batch: Floats) -> Floats:
        result: Floats = session.run(None, {photos: batch})[0]
        return result

    return answer


def load_torch(path: Path) -> Network:
    """Loads a TorchScript file, onto the GPU if there is one."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with warnings.catch_warnings():
        # PyTorch prefers torch.export now; the container that reads this file is older than that format
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        network = torch.jit.load(str(path), map_location=device).eval()

    def answer(batch: Floats) -> Floats:
        with torch.inference_mode():
            result: Floats = network(torch.from_numpy(batch).to(device)).cpu().numpy()
        return result

    return answer


_ENGINES: dict[str, tuple[str, str, Callable[[Path], Network]]] = {
    "openvino": ("openvino", "openvino", load_openvino),
    "onnx": ("onnx", "onnxruntime", load_onnx),
    "torch": ("torchscript", "torch", load_torch),
}
"""The engines in the order of preference, each with the format of its weights in model.json and its package."""


def input_fn(body: Any, content_type: str, context: Any = None) -> Request | PhotoError:
    """Decodes a request.

    Args:
        body: The photo, or JSON ``{"image": "<base64>", "top_k": 3}``.
        content_type: image/jpeg, image/png, image/webp or application/json.
        context: The container's request context. With one, a request that cannot be answered is returned instead of
            raised: the container would send a raised error's stack trace to the caller.

    Raises:
        PhotoError: If there is no context to answer through.
    """
    try:
        return _read_request(body, content_type, _custom_attributes(context))
    except PhotoError as error:
        if context is None:
            raise
        return error


def _read_request(body: Any, content_type: str, attributes: str) -> Request:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    top_k: object = DEFAULT_TOP_K
    for attribute in attributes.replace(";", ",").split(","):
        name, _, value = attribute.partition("=")
        if name.strip() == "top_k":
            top_k = value.strip()
    if media_type == "application/json":
        body, top_k = _read_json(body, top_k)
    elif media_type not in CONTENT_TYPES:
        raise PhotoError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send image/jpeg, image/png, image/webp or application/json, not {media_type or 'a body without a type'}.",
        )
    if not body:
        raise PhotoError(HTTPStatus.BAD_REQUEST, "The body is empty; send a photo.")
    photo = bytes(body)
    if photo.startswith(b"\xff\xd8\xff") and photo.count(b"\xff\xda") > MAX_SCANS:
        raise PhotoError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The photo has more than {MAX_SCANS} scans; save it again as a usual JPEG.",
        )
    return Request(decode(photo), _read_top_k(top_k))


def _read_json(body: Any, top_k: object) -> tuple[bytes, object]:
    if not body:
        raise PhotoError(HTTPStatus.BAD_REQUEST, "The body is empty; send a photo.")
    try:
        # TorchServe hands a JSON body over parsed or not, depending on TS_DECODE_INPUT_REQUEST
        document = body if isinstance(body, dict) else json.loads(body)
    except ValueError:
        raise PhotoError(HTTPStatus.BAD_REQUEST, "The body is not valid JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("image"), str):
        raise PhotoError(HTTPStatus.BAD_REQUEST, 'Send {"image": "<base64 of the photo>"}.')
    try:
        photo = base64.b64decode(document["image"], validate=True)
    except (binascii.Error, ValueError):
        raise PhotoError(HTTPStatus.BAD_REQUEST, 'The field "image" is not valid base64.') from None
    return photo, document.get("top_k", top_k)


def _read_top_k(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(
            value.lstrip("0")[:9] or 0
        )  # more digits cannot change the answer: top_k is capped at the number of classes
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PhotoError(HTTPStatus.BAD_REQUEST, "top_k must be a whole number from 1.")
    return value


def _custom_attributes(context: Any) -> str:
    processors = getattr(context, "request_processor", None)
    if not processors:
        return ""
    headers = {str(name).lower(): value for name, value in processors[0].get_request_properties().items()}
    return str(headers.get("x-amzn-sagemaker-custom-attributes") or "")


def predict_fn(request: Request | PhotoError, model: Model, context: object = None) -> dict[str, Any] | PhotoError:
    """Classifies a photo.

    Returns:
        ``{"predictions": [{"label": ..., "score": ...}, ...], "model": {"id": ..., "name": ..., "backbone": ...}}``,
        best first; the scores are softmax probabilities.
    """
    if isinstance(request, PhotoError):
        return request
    pixels = crop(request.photo, model.preprocessing)
    logits = model.network(normalise(pixels, model.preprocessing))[0].astype(np.float64)
    exponentials = np.exp(logits - logits.max())
    scores = exponentials / exponentials.sum()
    classes = model.document["classes"]
    best = np.argsort(-scores, kind="stable")[: request.top_k]
    return {
        "predictions": [{"label": classes[i], "score": round(float(scores[i]), 6)} for i in best],
        "model": {key: model.document[key] for key in ("id", "name", "backbone")},
    }


def output_fn(prediction: dict[str, Any] | PhotoError, accept: str, context: Any = None) -> tuple[str, str]:
    """Writes the answer: JSON, or a problem document with its status set on the container's context.

    Returns:
        Body and content type.
    """
    if isinstance(prediction, PhotoError):
        if context is not None:
            context.set_response_status(code=prediction.status_code, phrase=prediction.phrase)
        return json.dumps(prediction.problem()), "application/problem+json"
    return json.dumps(prediction), "application/json"
