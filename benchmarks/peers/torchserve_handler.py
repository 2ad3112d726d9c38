"""TorchServe's side of the serving benchmark: its image classifier with the preprocessing of the model archive.

TorchServe's own ``image_classifier`` handler cannot be told another mean, interpolation or size, and this benchmark
compares servers that do the same work.
"""

import io
import json
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torchvision import transforms
from ts.torch_handler.base_handler import BaseHandler


class PhotoClassifier(BaseHandler):
    """Answers ``{class: probability}`` for the five likeliest classes, as ``image_classifier`` does."""

    def initialize(self, context):
        """Load the TorchScript weights, and model.json for the preprocessing and the class names."""
        super().initialize(context)
        document = json.loads((Path(context.system_properties["model_dir"]) / "model.json").read_text())
        self.classes = document["classes"]
        preprocessing = document["preprocessing"]
        self.transform = transforms.Compose(
            [
                transforms.Resize(
                    preprocessing["resize"], transforms.InterpolationMode(preprocessing["interpolation"])
                ),
                transforms.CenterCrop(preprocessing["crop"]),
                transforms.ToTensor(),
                transforms.Normalize(preprocessing["mean"], preprocessing["std"]),
            ]
        )

    def preprocess(self, requests):
        """Decode a batch of photos to a tensor [N, 3, crop, crop]."""
        photos = [Image.open(io.BytesIO(request.get("data") or request.get("body"))) for request in requests]
        return torch.stack([self.transform(ImageOps.exif_transpose(photo).convert("RGB")) for photo in photos])

    def postprocess(self, logits):
        """Name the five likeliest classes of each photo."""
        scores, indices = logits.softmax(1).topk(min(5, len(self.classes)))
        return [
            {self.classes[index]: score for index, score in zip(*row, strict=True)}
            for row in zip(indices.tolist(), scores.tolist(), strict=True)
        ]
