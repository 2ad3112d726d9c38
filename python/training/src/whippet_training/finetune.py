"""Fine-tuning: a backbone and its head are trained on randomly changed photos, and validated on photos as served."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from whippet_training.augment import BACKBONE, Augmentation, Mixing, generator
from whippet_training.backbones import Backbone, with_module
from whippet_training.checkpoints import Checkpoints, Interruption, interruptions
from whippet_training.console import progress
from whippet_training.dataset import Photo
from whippet_training.distributed import Group, told
from whippet_training.errors import Interrupted, TrainingError
from whippet_training.finetuning import FineTuning
from whippet_training.head import Head
from whippet_training.layers import Network, restore, state_of
from whippet_training.loader import (
    Batch,
    Photos,
    Workers,
    refuse_unreadable,
    served_batches,
    training_batches,
)
from whippet_training.observe import Epoch, Observer, Observers, Step, StopTraining
from whippet_training.profiling import phase
from whippet_training.source import Source

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Labelled:
    """Photos of a split.

    Attributes:
        photos: In any order, the same in every process.
        labels: Their class numbers.
    """

    photos: Sequence[Photo]
    labels: Sequence[int]


@dataclass(frozen=True)
class Keeping:
    """Where checkpoints go, and how often.

    Attributes:
        folder: Of this training alone.
        every_seconds: Time between checkpoints.
        every_steps: Steps between checkpoints, whichever comes first; None for no limit.
    """

    folder: Path
    every_seconds: float = 300.0
    every_steps: int | None = None


@dataclass(frozen=True)
class FineTuned:
    """What a fine-tuning has come to.

    Attributes:
        backbone: With the weights of the best epoch.
        head: Of the best epoch.
        history: Every epoch.
        best: Number of the epoch, from 0, with the lowest validation loss.
        stopped: Why an observer ended the training; None if none did.
        skipped: Why photos could not be read, by file.
        images_per_second: Training photos a second, validation left out, since the start or the last resumption.
    """

    backbone: Backbone
    head: Head
    history: tuple[Epoch, ...]
    best: int
    stopped: str | None
    skipped: dict[str, str]
    images_per_second: float


def fine_tune(
    backbone: Backbone,
    head: Head,
    source: Source,
    train: Labelled,
    valid: Labelled,
    classes: int,
    settings: FineTuning,
    seed: int = 0,
    observer: Observer | None = None,
    keeping: Keeping | None = None,
    group: Group | None = None,
    memory: int | None = None,
) -> FineTuned:
    """Trains a backbone with a head.

    On the CPU the result depends on the arguments and the number of PyTorch's threads alone, to the last bit, and not
    on interruptions. Several processes see the same batches as one and differ from it by rounding only.

    Args:
        backbone: Stays as it is.
        head: On its features; its shape counts, and its weights unless the settings ask for a random head.
        source: Reads the photos.
        train: Training photos.
        valid: Validation photos; nothing else decides which epoch is kept.
        classes: Number of classes.
        settings: What to train with.
        seed: Of every random draw.
        observer: Watches the training in process 0, and may end it.
        keeping: Where checkpoints go; a checkpoint that lies there is gone on from. None writes none.
        group: The processes that train together.
        memory: Bytes of decoded photos to keep; None for a part of what is free.

    Raises:
        TrainingError: If nothing can be trained on, the loss is not a number, or another process is gone.
        Interrupted: If SIGINT or SIGTERM came while checkpoints are kept; the last one holds what was reached.
    """
    group = group or Group()
    training = _Training(backbone, head, source, train, valid, classes, settings, seed, observer, group, memory)
    identity = {
        **asdict(settings),
        "seed": seed,
        "classes": classes,
        "backbone": backbone.name,
        "backbone's weights": backbone.weights,
        "photo size": backbone.preprocessing.crop,
        "head": _digest(array.tobytes() for layer in head.layers for array in layer),
        "data": _digest(
            f"{photo.content.hex()} {label}\n".encode()
            for split in (train, valid)
            for photo, label in zip(split.photos, split.labels, strict=True)
        ),
    }
    checkpoints = None
    if keeping and group.rank == 0:
        checkpoints = Checkpoints(keeping.folder, identity, keeping.every_seconds, keeping.every_steps)
    training.resume(group.broadcast(checkpoints.read() if checkpoints else None))
    taking_note: AbstractContextManager[Interruption] = interruptions() if keeping else nullcontext(Interruption())
    with taking_note as interruption:
        return training.run(checkpoints, interruption)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


@dataclass
class _Position:
    """How far a training is; with the weights it is all that a checkpoint holds."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss: float = 0.0
    right: float = 0.0
    photos: float = 0.0
    seconds: float = 0.0
    best: int = -1
    best_loss: float = math.inf
    stopped: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class _Training:
    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        source: Source,
        train: Labelled,
        valid: Labelled,
        classes: int,
        settings: FineTuning,
        seed: int,
        observer: Observer | None,
        group: Group,
        memory: int | None,
    ) -> None:
        self._backbone, self._settings, self._seed, self._group = backbone, settings, seed, group
        self._train, self._valid, self._classes = train, valid, classes
        self._observer = observer if observer and group.rank == 0 else Observers()
        preprocessing = backbone.preprocessing
        self._photos = Photos(source, train.photos, preprocessing, memory)
        self._validated = Photos(source, valid.photos, preprocessing, memory)
        if group.size > 1 and not settings.freeze_norm and group.device.type == "cpu":
            raise TrainingError(
                "Several processes on CPUs cannot share the statistics of batch normalisation; freeze them "
                "(--finetune-freeze-norm), or train in one process."
            )
        self._batches = math.ceil(len(train.photos) / settings.batch_size)
        self._network = self._placed(Network(backbone.module, head, settings, seed))
        self._optimiser = torch.optim.AdamW(self._network.parameter_groups(), fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._factor)
        self._ema = ModelEmaV3(self._network, settings.ema, use_warmup=True) if settings.ema else None
        self._precision = precision(settings.amp, group.device)
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=self._precision == torch.float16)
        self._saved = self._network.saved()
        self._best = state_of(self._network, self._saved)
        self._at = _Position()
        self._callable: Callable[[torch.Tensor], torch.Tensor] = self._network
        self._begun = 0.0
        self._own_seconds, self._own_photos = 0.0, 0.0

    def resume(self, state: dict[str, Any] | None) -> None:
        """Goes on from a checkpoint."""
        if state is None:
            return
        self._at = _Position(**state["position"])
        restore(self._network, state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._ema:
            restore(self._ema.module, state["ema"])
        self._best = state["best"]
        torch.set_rng_state(state["rng"])
        self._photos.skipped |= state["skipped"]

    def run(self, checkpoints: Checkpoints | None, interruption: Interruption) -> FineTuned:
        """Trains until the last epoch, an observer or a signal ends it."""
        total = self._settings.epochs * self._batches
        counts = np.bincount(list(self._train.labels), minlength=self._classes).tolist()
        try:
            self._observer.start(self._network, self._classes, counts)
        except StopTraining as reason:
            raise TrainingError(f"Nothing was trained, as a rule asked to stop: {reason}") from None
        workers = Workers(_loader_threads())
        try:
            with progress("fine-tuning", total) as advance:
                for _ in range(self._at.step):
                    advance()
                while self._at.epoch < self._settings.epochs and not self._at.stopped:
                    self._train_epoch(workers, checkpoints, interruption, advance)
                    self._end_epoch(workers)
            if checkpoints:
                checkpoints.write(self._at.step, self._state())
        finally:
            workers.close()
            self._observer.finish()
        return self._result()

    def _train_epoch(
        self,
        workers: Workers,
        checkpoints: Checkpoints | None,
        interruption: Interruption,
        advance: Callable[[], None],
    ) -> None:
        settings, at = self._settings, self._at
        self._prepare_network()
        batches = training_batches(
            self._photos,
            self._train.labels,
            Augmentation(settings.smallest_area, settings.colour),
            Mixing(settings.mixup, settings.cutmix),
            settings.batch_size,
            self._seed,
            at.epoch,
            workers,
            at.batch,
            self._group.rank,
            self._group.size,
        )
        self._begun = time.perf_counter()
        for batch in batches:
            stopped, signalled = self._step(batch, interruption)
            at.batch += 1
            at.step += 1
            advance()
            if checkpoints and (signalled or checkpoints.due(at.step)):
                self._pause()
                checkpoints.write(at.step, self._state())
            if signalled:
                self._group.barrier()  # torchrun ends the processes once one of them has ended
                raise Interrupted(signalled)
            if stopped:
                break
        self._pause()
        if at.photos == 0:
            refuse_unreadable(self._photos, "train")

    def _pause(self) -> None:
        now = time.perf_counter()
        self._at.seconds += now - self._begun
        self._own_seconds += now - self._begun
        self._begun = now

    def _prepare_network(self) -> None:
        changed = self._network.thaw(self._at.epoch)
        if not changed and self._callable is not self._network:
            return
        network: Any = self._network
        if self._group.size > 1:
            with told(), warnings.catch_warnings():
                # the new name of broadcast_buffers is unknown to the PyTorch of AWS's containers
                warnings.filterwarnings("ignore", category=FutureWarning, message="`broadcast_buffers`")
                network = DistributedDataParallel(
                    network,
                    device_ids=[self._group.device.index] if self._group.device.type == "cuda" else None,
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                )
        self._callable = torch.compile(network) if self._settings.compile else network

    def _step(self, batch: Batch, interruption: Interruption) -> tuple[bool, int]:
        """Trains on a batch; returns whether to stop, and the signal that came."""
        at, device = self._at, self._group.device
        (count,) = self._group.sum([len(batch.labels)])
        if not count:
            return self._agree(interruption)
        photos, labels = self._placed(batch.photos), batch.labels.to(device)
        own, other = batch.own.to(device), labels[batch.partners.to(device)]
        if not len(labels):  # the others wait for this process's gradients: nought
            photos = self._placed(torch.zeros(1, *batch.photos.shape[1:]))
        for dropout in self._network.dropouts():
            dropout.turn_to(self._seed, at.step, batch.size, batch.positions if len(labels) else torch.zeros(1).long())
        # what a backbone draws itself depends on the step alone as well
        torch.manual_seed(int(generator(self._seed, BACKBONE, at.step, self._group.rank).integers(2**62)))
        self._optimiser.zero_grad()
        with phase("forward"), self._autocast():
            logits = self._callable(photos).float()
        with phase("forward"):
            losses = self._losses(logits[: len(labels)], labels, other, own)
            loss = losses.sum() if len(labels) else logits.sum() * 0
        with phase("backward"), told() if self._group.size > 1 else nullcontext():
            # DistributedDataParallel divides the sum of the gradients by the number of processes
            self._scaler.scale(loss * (self._group.size / count)).backward()
        right = float((logits[: len(labels)].detach().argmax(dim=1) == labels).sum())
        total, right = self._group.sum([loss.item(), right])
        if self._scaler.is_enabled():
            self._scaler.unscale_(self._optimiser)
        at.loss, at.right, at.photos = at.loss + total, at.right + right, at.photos + count
        self._own_photos += count
        try:
            rate = float(self._schedule.get_last_lr()[0])
            self._observer.step(Step(at.step, at.epoch, total / count, int(count), rate))
        except StopTraining as reason:
            at.stopped = at.stopped or str(reason)
        stopped, signalled = self._agree(interruption)
        if stopped:
            return stopped, signalled
        with phase("optimiser"):
            self._scaler.step(self._optimiser)
            self._scaler.update()
            self._schedule.step()
            if self._ema:
                self._ema.update(self._network, at.step + 1)
        return stopped, signalled

    def _losses(
        self, logits: torch.Tensor, labels: torch.Tensor, other: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        smoothing = self._settings.label_smoothing
        losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        if not self._mixes():
            return losses
        others = functional.cross_entropy(logits, other, reduction="none", label_smoothing=smoothing)
        return own * losses + (1 - own) * others

    def _mixes(self) -> bool:
        return bool(self._settings.mixup or self._settings.cutmix)

    def _agree(self, interruption: Interruption) -> tuple[bool, int]:
        """Whether to stop and the signal that came, the same in every process."""
        stopped, *signals = self._group.sum(
            [float(bool(self._at.stopped)), *(float(interruption.signal == number) for number in _SIGNALS)]
        )
        if stopped and not self._at.stopped:
            self._at.stopped = "a rule asked to stop"
        return bool(stopped), next((number for number, seen in zip(_SIGNALS, signals, strict=True) if seen), 0)

    def _end_epoch(self, workers: Workers) -> None:
        at = self._at
        valid_loss, valid_top1 = self._validate(workers)
        epoch = Epoch(
            at.epoch,
            at.loss / max(at.photos, 1),
            valid_loss,
            None if self._mixes() else at.right / max(at.photos, 1),
            valid_top1,
            float(self._schedule.get_last_lr()[0]),
            at.seconds,
        )
        at.history.append(asdict(epoch))
        if valid_loss < at.best_loss:
            at.best, at.best_loss = at.epoch, valid_loss
            self._best = state_of(self._ema.module if self._ema else self._network, self._saved)
        try:
            self._observer.epoch(epoch)
        except StopTraining as reason:
            at.stopped = at.stopped or str(reason)
        at.stopped = self._group.broadcast(at.stopped)
        at.epoch, at.batch = at.epoch + 1, 0
        at.loss = at.right = at.photos = at.seconds = 0.0

    def _validate(self, workers: Workers) -> tuple[float, float]:
        """Mean cross-entropy and part of the photos that are right, in float32, as they are served."""
        network = (self._ema.module if self._ema else self._network).eval()
        mine = range(self._group.rank, len(self._valid.photos), self._group.size)
        loss = right = count = 0.0
        for photos, labels in served_batches(
            self._validated, self._valid.labels, mine, self._settings.batch_size, workers
        ):
            with torch.inference_mode(), phase("forward"):
                logits = network(self._placed(photos)).cpu()
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(dim=1) == labels).sum())
            count += len(labels)
        loss, right, count = self._group.sum([loss, right, count])
        if not count:
            refuse_unreadable(self._validated, "valid")
        mean = loss / count
        return (mean if math.isfinite(mean) else math.inf), right / count

    def _state(self) -> dict[str, Any]:
        return {
            "position": asdict(self._at),
            "weights": state_of(self._network, self._saved),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": state_of(self._ema.module, self._saved) if self._ema else {},
            "best": self._best,
            "rng": torch.get_rng_state(),
            "skipped": dict(self._photos.skipped),
        }

    def _result(self) -> FineTuned:
        at, settings = self._at, self._settings
        if at.best < 0:
            raise TrainingError(
                "The fine-tuning diverged (its loss is not a number) at a learning rate of "
                f"{settings.learning_rate:g}: lower it, "
                f"--finetune-learning-rate {settings.learning_rate / 10:g} for one."
            )
        restore(self._network, self._best)
        network = self._network.to("cpu", memory_format=torch.contiguous_format).eval().requires_grad_(False)
        skipped = [photos.skipped for photos in (self._photos, self._validated)]
        return FineTuned(
            backbone=with_module(self._backbone, network.backbone),
            head=network.trained_head(),
            history=tuple(Epoch(**epoch) for epoch in at.history),
            best=at.best,
            stopped=at.stopped,
            skipped={
                file: reason for part in self._group.gather(skipped) for one in part for file, reason in one.items()
            },
            images_per_second=self._own_photos / self._own_seconds if self._own_seconds else 0.0,
        )

    def _placed(self, value: Any) -> Any:
        layout = torch.channels_last if self._settings.channels_last else torch.contiguous_format
        return value.to(self._group.device, memory_format=layout)

    def _factor(self, step: int) -> float:
        """Part of the highest learning rate in a step."""
        warmup = self._settings.warmup_epochs * self._batches
        if step < warmup:
            return (step + 1) / (warmup + 1)
        left = max(1.0, self._settings.epochs * self._batches - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / left)))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._precision == torch.float32:
            return nullcontext()
        return torch.autocast(self._group.device.type, self._precision)


def precision(amp: str, device: torch.device) -> torch.dtype:
    """The type of the heavy sums; auto takes bfloat16 where the processor multiplies it in hardware."""
    if amp == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, bool)() for name in names)
        return torch.bfloat16 if fast else torch.float32
    return {"off": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[amp]


def _loader_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
