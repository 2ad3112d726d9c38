"""What a fine-tuning is set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FineTuning:
    """What a backbone and its head are trained with, photo by photo.

    Attributes:
        epochs: Passes over the training photos; 0 leaves the backbone as it is.
        batch_size: Photos in a step, of all processes together.
        learning_rate: AdamW's at its highest, of the head.
        layer_decay: Factor on the learning rate from each stage to the one below it.
        weight_decay: AdamW's; biases and scales of normalisation have none.
        warmup_epochs: In which the learning rate rises from nought; afterwards it falls along a cosine.
        stages: Last stages of the backbone that are trained; 0 none, -1 all.
        unfreeze_every: Epochs after which one more stage is trained, the last one first; 0 trains all from the start.
        freeze_norm: Batch normalisation keeps the mean and variance of pretraining.
        ema: Decay of the averaged weights, which are validated and kept; 0 averages none.
        mixup: Alpha of the beta distribution that two photos are blended by (arXiv 1710.09412); 0 blends none.
        cutmix: The same of the patch that one photo takes from another (arXiv 1905.04899).
        label_smoothing: Part of the target that is spread over all classes.
        dropout: Part of the features, and of hidden units, that a step leaves out.
        smallest_area: Part of the photo that a random crop shows at least.
        colour: Largest change of brightness, contrast and saturation: 0.2 for a factor between 0.8 and 1.2.
        head: probe starts with the head that was trained on frozen features (arXiv 2202.10054), random with a new one.
        amp: Precision of the heavy sums: off for float32, bfloat16, float16, or auto for the fastest the machine has.
        channels_last: Colours of a pixel lie together in memory.
        compile: Let torch.compile make kernels for the network; wants a C++ compiler.
    """

    epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 3e-4
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warmup_epochs: float = 0.5
    stages: int = -1
    unfreeze_every: int = 0
    freeze_norm: bool = True
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    smallest_area: float = 0.35
    colour: float = 0.2
    head: Literal["probe", "random"] = "probe"
    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    channels_last: bool = True
    compile: bool = False
