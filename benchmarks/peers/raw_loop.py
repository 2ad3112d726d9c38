"""Decodes photos and lets the network answer, in a loop: what serving is without a server.

Reads a number of seconds from each line of its input, loops for so long, and answers with a line of JSON. OpenVINO has
the settings that the server gives it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openvino
from openvino.preprocess import PrePostProcessor

from whippet_serving.photo import preprocess
from whippet_serving.preprocessing import Preprocessing


def compile_network(model: Path, document: dict[str, Any], streams: int, threads: int, precision: str) -> Any:
    """Compile the archive's network for uint8 pixels [1, crop, crop, 3]."""
    side = document["preprocessing"]["crop"]
    graph = openvino.Core().read_model(model / document["weights"]["openvino"])
    graph.reshape([1, 3, side, side])
    processor = PrePostProcessor(graph)
    processor.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * value for value in document["preprocessing"]["mean"]])
    steps.scale([255 * value for value in document["preprocessing"]["std"]])
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": hint,
        # of several processes with a thread each, all would sit on the first core
        "ENABLE_CPU_PINNING": threads > 1,
    }
    return openvino.Core().compile_model(processor.build(), "CPU", settings)


def main(model: Path, photos: list[bytes], callers: int, threads: int, precision: str) -> None:
    """Answer for every line of the input, with ``callers`` loops side by side over ``threads`` cores."""
    document = json.loads((model / "model.json").read_text())
    preprocessing = Preprocessing(**document["preprocessing"])
    network = compile_network(model, document, callers, threads, precision)
    requests = [network.create_infer_request() for _ in range(callers)]

    def loop(caller: int, until: float) -> list[float]:
        latencies = []
        turn = caller * len(photos) // callers
        while (start := time.perf_counter()) < until:
            pixels = preprocess(photos[turn % len(photos)], preprocessing)
            requests[caller].infer([pixels[None]], share_outputs=True)[0].argmax()
            latencies.append(time.perf_counter() - start)
            turn += 1
        return latencies

    for photo in photos:  # two threads that meet Pillow's parsers for the first time at once can wait for each other
        pixels = preprocess(photo, preprocessing)
    for request in requests:
        request.infer([pixels[None]])
    with ThreadPoolExecutor(callers) as executor:
        print("ready", flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            each = executor.map(loop, range(callers), [start + float(line)] * callers)
            latencies = [latency for latencies in each for latency in latencies]
            print(json.dumps({"seconds": time.perf_counter() - start, "latencies": latencies}), flush=True)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())],
        int(sys.argv[3]),
        int(sys.argv[4]),
        sys.argv[5],
    )
