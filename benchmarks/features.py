"""Measures feature extraction from files against OpenVINO alone, fed with tensors that already lie in memory.

What extraction adds is reading, decoding, resizing, and the cache: the ratio says how much of the network's speed is
left. OpenVINO alone runs in each of its usual ways (a photo a request, batches) and the fastest counts, by its median.
Both compile the network first, and that counts.

Example: .venv/bin/python benchmarks/features.py --data ../shared/dogs
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import _bench
from whippet_training.backbones import DEFAULT_BACKBONE, Backbone, create_backbone
from whippet_training.cache import FeatureCache
from whippet_training.dataset import Photo, read_dataset
from whippet_training.engines import create_engine, openvino_backbone
from whippet_training.features import cache_folder, extract
from whippet_training.inference import crop, decode, normalise
from whippet_training.source import Source

BATCHES = (1, 8, 32)


def extraction(source: Source, photos: list[Photo], backbone: Backbone) -> float:
    """Photos a second of Whippet's extraction with an empty cache."""
    engine = create_engine("openvino", backbone)
    with tempfile.TemporaryDirectory() as cache:
        folder = cache_folder(Path(cache), backbone, engine)
        start = time.perf_counter()
        with FeatureCache(folder, backbone.width) as features:
            done = extract(source, dict.fromkeys(photos, 1), backbone, engine, features)
        seconds = time.perf_counter() - start
    if done.computed != len(photos):
        raise SystemExit(f"{len(photos) - done.computed} photos cannot be read; choose another folder")
    return len(photos) / seconds


def openvino_alone(tensors: Any, backbone: Backbone, batch: int) -> float:
    """Photos a second of OpenVINO on float32 tensors [N, 3, crop, crop] in memory."""
    import openvino

    model = openvino_backbone(backbone).clone()
    model.reshape([batch, *tensors.shape[1:]])
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    start = time.perf_counter()
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", settings))
    whole = len(tensors) // batch * batch
    features = np.empty((whole, backbone.width), dtype=np.float32)

    def keep(request: Any, first: int) -> None:
        features[first : first + batch] = request.get_output_tensor().data

    queue.set_callback(keep)
    for first in range(0, whole, batch):
        queue.start_async({0: tensors[first : first + batch]}, first, share_inputs=True)
    queue.wait_all()
    return whole / (time.perf_counter() - start)


def main(
    data: Annotated[Path, typer.Option(help="Photos as SPLIT/CLASS/*.")],
    backbone: Annotated[str, typer.Option(help="timm name.")] = DEFAULT_BACKBONE,
    photos: Annotated[int, typer.Option(help="Photos in a round.", min=64)] = 4000,
    rounds: Annotated[int, typer.Option(help="Rounds; the ways take turns in each.", min=1)] = 5,
) -> None:
    """Prints a table and writes build/bench/features.json."""
    dataset = read_dataset(data)
    network = create_backbone(backbone)
    chosen = list({photo.content: photo for photo in dataset.photos}.values())
    random.Random(0).shuffle(chosen)
    chosen = chosen[:photos]
    preprocessing = network.preprocessing
    images = (decode(dataset.source.read(photo.file)) for photo in chosen)
    tensors = np.concatenate([normalise(crop(image, preprocessing), preprocessing) for image in images])
    whippet = "Whippet, from files"
    ways: dict[str, Callable[[], float]] = {whippet: lambda: extraction(dataset.source, chosen, network)}
    ways |= {
        f"OpenVINO alone, batch {batch}": lambda batch=batch: openvino_alone(tensors, network, batch)  # type: ignore[misc]
        for batch in BATCHES
    }
    load = _bench.load_average()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            speeds[name].append(way())
    alone = [name for name in ways if name != whippet]
    fastest = max(alone, key=lambda name: statistics.median(speeds[name]))
    ratios = [ours / theirs for ours, theirs in zip(speeds[whippet], speeds[fastest], strict=True)]
    report = {
        "machine": _bench.machine(),
        "load_average": load,
        "versions": _bench.versions("openvino", "pillow", "torch", "timm"),
        "backbone": backbone,
        "photos": len(chosen),
        "images_per_second": {name: _bench.spread(values, 1) for name, values in speeds.items()},
        "ratio_to_the_fastest_alone": _bench.spread(ratios),
    }
    for name, values in report["images_per_second"].items():
        sys.stdout.write(f"{name:28} {values['median']:7.1f} images/s  ({values['min']} to {values['max']})\n")
    ratio = report["ratio_to_the_fastest_alone"]
    sys.stdout.write(
        f"{'ratio, round by round':28} {ratio['median']:7.3f}           ({ratio['min']} to {ratio['max']})\n"
    )
    sys.stdout.write(f"{_bench.write_report('features', report)}\n")


if __name__ == "__main__":
    typer.run(main)
