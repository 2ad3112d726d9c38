"""LitServe's side of the serving benchmark; it runs in LitServe's environment, one process a configuration.

A photo arrives as it is, as the body of the request, which costs LitServe less than the base64 of its examples.
"""

import argparse
import io
import json
import os
import warnings
from pathlib import Path
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body
from PIL import Image, ImageOps

Photo = Annotated[bytes, Body(media_type="image/jpeg")]


class Photos(litserve.LitAPI):
    """Answers ``{"label": ..., "score": ...}`` for the likeliest class."""

    def __init__(self, model: Path, engine: str, threads: int, **batching):
        super().__init__(**batching)
        self.model, self.engine, self.threads = model, engine, threads

    def setup(self, device):
        """Load model.json and the network, and let it answer once."""
        document = json.loads((self.model / "model.json").read_text())
        self.classes = document["classes"]
        self.preprocessing = document["preprocessing"]
        network = {
            "openvino": _openvino,
            "openvino-bfloat16": _openvino_in_bfloat16,
            "compile": _compiled,
            "compile-bfloat16": _compiled_in_bfloat16,
            "script": _scripted,
        }[self.engine]
        self.network = network(self.model, document, self.threads, self.max_batch_size)
        side = self.preprocessing["crop"]
        for size in {1, self.max_batch_size}:
            self.network(np.zeros((size, side, side, 3), dtype=np.uint8))

    def decode_request(self, request: Photo):
        """Keep the file; it is decoded in the worker's ``predict``, where a batch's photos are together."""
        return request

    def batch(self, inputs):
        """Keep the files of a batch together."""
        return inputs

    def unbatch(self, output):
        """Give each caller its own answer."""
        return output

    def predict(self, request):
        """Answer for one photo, or for a list of them."""
        photos = request if isinstance(request, list) else [request]
        logits = self.network(np.stack([self._decode(photo) for photo in photos]))
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        scores = exponentials / exponentials.sum(1, keepdims=True)
        answers = [{"label": self.classes[row.argmax()], "score": float(row.max())} for row in scores]
        return answers if isinstance(request, list) else answers[0]

    def encode_response(self, output):
        """It is JSON already."""
        return output

    def _decode(self, photo):
        """Cut out the centre and resize it, as this project's server does: uint8 [crop, crop, 3]."""
        settings = self.preprocessing
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")
        short = min(image.size)
        side = min(max(1, round(short * settings["crop"] / settings["resize"])), short)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        resampling = Image.Resampling[settings["interpolation"].upper()]
        return np.asarray(square.resize((settings["crop"], settings["crop"]), resampling))


def _openvino(model, document, threads, batch, precision="f32"):
    import openvino
    from openvino.preprocess import PrePostProcessor

    side = document["preprocessing"]["crop"]
    graph = openvino.Core().read_model(model / document["weights"]["openvino"])
    graph.reshape([1 if batch == 1 else -1, 3, side, side])
    processor = PrePostProcessor(graph)
    processor.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * value for value in document["preprocessing"]["mean"]])
    steps.scale([255 * value for value in document["preprocessing"]["std"]])
    settings = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,  # else the workers' threads all sit on the first core
    }
    request = openvino.Core().compile_model(processor.build(), "CPU", settings).create_infer_request()
    return lambda pixels: request.infer([pixels], share_outputs=True)[0][0:].copy()


def _openvino_in_bfloat16(model, document, threads, batch):
    return _openvino(model, document, threads, batch, "bf16")


def _compiled(model, document, threads, batch):
    """The network as timm builds it, with the archive's weights, through ``torch.compile``."""
    import timm
    import torch

    weights = torch.jit.load(str(model / document["weights"]["torchscript"]), map_location="cpu").state_dict()
    head = torch.nn.Sequential(torch.nn.Linear(*reversed(weights["1.0.weight"].shape)))
    network = torch.nn.Sequential(timm.create_model(document["backbone"], num_classes=0), head)
    network.load_state_dict(weights)
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return _torch_call(torch.compile(network, dynamic=batch > 1), document, threads)


def _compiled_in_bfloat16(model, document, threads, batch):
    """The same with autocast, as PyTorch's recipes for CPUs have it."""
    import torch

    call = _compiled(model, document, threads, batch)

    def in_bfloat16(pixels):
        with torch.autocast("cpu", torch.bfloat16):
            return call(pixels)

    return in_bfloat16


def _scripted(model, document, threads, batch):
    """The archive's TorchScript, with its convolutions, normalisations and activations fused."""
    import torch

    network = torch.jit.load(str(model / document["weights"]["torchscript"]), map_location="cpu").eval()
    return _torch_call(torch.jit.optimize_for_inference(network), document, threads)


def _torch_call(network, document, threads):
    import torch

    torch.set_num_threads(threads)
    mean, std = (torch.tensor(document["preprocessing"][key]).view(3, 1, 1) for key in ("mean", "std"))

    def call(pixels):
        with torch.inference_mode():
            photos = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
            return network(photos.div_(255).sub_(mean).div_(std)).float().numpy()

    return call


def main():
    """Serve until a signal."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # TorchScript is deprecated, and is what archives hold
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument(
        "--engine", choices=("openvino", "openvino-bfloat16", "compile", "compile-bfloat16", "script"), required=True
    )
    for name in ("port", "workers", "threads", "batch", "api-servers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--fast-queue", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    batching = {"max_batch_size": arguments.batch, "batch_timeout": 0.005} if arguments.batch > 1 else {}
    api = Photos(arguments.model, arguments.engine, arguments.threads, **batching)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=arguments.workers,
        fast_queue=arguments.fast_queue,
        timeout=60,
    )
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=arguments.api_servers,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
