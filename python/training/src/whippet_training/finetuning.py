"""What a fine-tuning is set to: the fields below are the flags ``--finetune-*`` of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typer import Option

HeadStart = Literal["probe", "random"]
Precision = Literal["auto", "off", "bfloat16", "float16"]


@dataclass(frozen=True)
class FineTuning:
    """What a backbone and its head are trained with, photo by photo; each field's help says what it does.

    Attributes:
        head: probe keeps what frozen features have taught the head, so that its first, wrong gradients do not undo the
            backbone (arXiv 2202.10054).
        mixup: arXiv 1710.09412.
        cutmix: arXiv 1905.04899.
    """

    epochs: Annotated[int, Option(min=0, help="Passes over the training photos; 0 leaves the network as it is.")] = 0
    batch_size: Annotated[int, Option(min=1, help="Photos in a step, of all processes together.")] = 32
    learning_rate: Annotated[float, Option(min=1e-8, help="AdamW's at its highest, of the head.")] = 3e-4
    layer_decay: Annotated[
        float, Option(min=0, max=1, help="Factor on the learning rate from each stage to the one below it.")
    ] = 0.75
    weight_decay: Annotated[float, Option(min=0, help="AdamW's; biases and norms have none.")] = 0.05
    warmup_epochs: Annotated[
        float, Option(min=0, help="In which the learning rate rises from nought, to fall along a cosine.")
    ] = 0.5
    stages: Annotated[int, Option(min=-1, help="Last stages of the network that are trained; -1: all.")] = -1
    unfreeze_every: Annotated[
        int, Option(min=0, help="Epochs after which one more stage is trained, the last one first; 0: all at once.")
    ] = 0
    freeze_norm: Annotated[bool, Option(help="Keep the mean and variance of pretraining.")] = True
    ema: Annotated[
        float, Option(min=0, max=0.99999, help="Decay of averaged weights, which are then kept; 0 averages none.")
    ] = 0.0
    mixup: Annotated[float, Option(min=0, help="Alpha of the blending of two photos; 0: none.")] = 0.0
    cutmix: Annotated[float, Option(min=0, help="Alpha of the patch from another photo; 0: none.")] = 0.0
    label_smoothing: Annotated[
        float, Option(min=0, max=0.99, help="Part of the target that is spread over all classes.")
    ] = 0.0
    dropout: Annotated[float, Option(min=0, max=0.95, help="Part of the features that a step leaves out.")] = 0.0
    smallest_area: Annotated[
        float, Option(min=0.05, max=1, help="Part of the photo that a random crop shows at least.")
    ] = 0.35
    colour: Annotated[
        float, Option(min=0, max=0.9, help="Largest change of brightness, contrast and saturation; 0.2: 0.8 to 1.2.")
    ] = 0.2
    head: Annotated[HeadStart, Option(help="Start with the head of the frozen features, or a random one.")] = "probe"
    amp: Annotated[
        Precision, Option(help="Of the heavy sums; off is float32, auto the fastest that the machine has.")
    ] = "auto"
    channels_last: Annotated[bool, Option(help="Colours of a pixel lie together in memory.")] = True
    compile: Annotated[bool, Option(help="Let torch.compile make kernels; wants a C++ compiler.")] = False
