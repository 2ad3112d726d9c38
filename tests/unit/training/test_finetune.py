from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.tuning import KillAt, small_backbone, small_head, tune
from whippet_training.backbones import _Joined
from whippet_training.checkpoints import interruptions
from whippet_training.errors import Interrupted, TrainingError
from whippet_training.finetune import FineTuned, Keeping, precision
from whippet_training.finetuning import FineTuning
from whippet_training.inference import crop, decode, normalise
from whippet_training.layers import Network, stages
from whippet_training.observe import Observers, Step, StopTraining

TESTS = Path(__file__).parents[2]
QUICK = FineTuning(epochs=2, batch_size=8, learning_rate=1e-3, warmup_epochs=0)
EVERYTHING = replace(
    QUICK, epochs=3, batch_size=7, stages=3, unfreeze_every=1, ema=0.9, mixup=0.4, cutmix=1.0, dropout=0.2,
    label_smoothing=0.1, warmup_epochs=0.5,
)  # fmt: skip


def weights(tuned: FineTuned) -> dict[str, bytes]:
    state = {name: tensor.numpy().tobytes() for name, tensor in tuned.backbone.module.state_dict().items()}
    return {**state, **{f"head.{i}": layer[0].tobytes() for i, layer in enumerate(tuned.head.layers)}}


def test_a_network_learns_what_it_could_not_tell_before(drawn: Path) -> None:
    tuned = tune(drawn, replace(QUICK, epochs=12, learning_rate=3e-3, smallest_area=0.8, freeze_norm=False))
    assert tuned.history[tuned.best].valid_loss < 0.8 * math.log(3)
    assert tuned.history[-1].train_loss < tuned.history[0].train_loss


def test_the_kept_epoch_has_the_lowest_validation_loss_on_photos_as_they_are_served(drawn: Path) -> None:
    tuned = tune(drawn, replace(QUICK, epochs=4, learning_rate=0.02, ema=0.5))
    losses = [epoch.valid_loss for epoch in tuned.history]
    assert losses[tuned.best] == min(losses)
    files = sorted((drawn / "valid").rglob("*.jpg"))
    preprocessing = tuned.backbone.preprocessing
    photos = [normalise(crop(decode(file.read_bytes()), preprocessing), preprocessing) for file in files]
    with torch.inference_mode():
        features = tuned.backbone.module(torch.from_numpy(np.concatenate(photos))).numpy()
    logits = tuned.head.logits(features).astype(np.float64)
    labels = [["bee", "fish", "owl"].index(file.parent.name) for file in files]
    log_sums = np.log(np.exp(logits).sum(axis=1))
    assert np.mean(log_sums - logits[range(len(labels)), labels]) == pytest.approx(min(losses), abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(drawn: Path) -> None:
    first, second, other = (weights(tune(drawn, EVERYTHING, seed=seed)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_backbone_that_is_given_stays_as_it_is(drawn: Path) -> None:
    backbone = small_backbone()
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    tuned = tune(drawn, QUICK, backbone=backbone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.module.state_dict().items())
    assert tuned.backbone.weights != backbone.weights
    assert not tuned.backbone.module.training


@pytest.mark.parametrize("count", [0, 2, -1])
def test_only_the_last_stages_are_trained(drawn: Path, count: int) -> None:
    before = small_backbone().module.state_dict()
    after = tune(drawn, replace(QUICK, stages=count)).backbone.module.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    division = stages(small_backbone().module)
    free = {name for stage in (division[-count:] if count > 0 else division if count else []) for name in stage}
    assert moved == free


def test_stages_are_unfrozen_one_after_the_other_from_the_last(drawn: Path) -> None:
    seen: dict[int, set[str]] = {}

    class Watch(Observers):
        def start(self, module: torch.nn.Module, *_: object) -> None:
            self.module = module

        def step(self, step: Step) -> None:
            named = self.module.backbone.named_parameters()  # type: ignore[union-attr, operator]
            seen[step.epoch] = {name for name, parameter in named if parameter.grad is not None}

    tune(drawn, replace(QUICK, epochs=5, stages=2, unfreeze_every=2), observer=Watch())
    *_, below, last = (set(stage) for stage in stages(small_backbone().module))
    assert seen == {0: last, 1: last, 2: last | below, 3: last | below, 4: last | below}


@pytest.mark.parametrize("frozen", [True, False])
def test_the_statistics_of_batch_normalisation_move_only_where_they_may(drawn: Path, frozen: bool) -> None:
    after = tune(drawn, replace(QUICK, freeze_norm=frozen)).backbone.module.state_dict()
    before = small_backbone().module.state_dict()
    same = [torch.equal(before[name], after[name]) for name in before if "running" in name]
    assert same
    assert all(same) if frozen else not any(same)


def test_each_stage_has_a_lower_learning_rate_than_the_one_above_and_scales_do_not_decay() -> None:
    backbone = small_backbone()
    settings = FineTuning(learning_rate=1.0, layer_decay=0.5, weight_decay=0.1)
    network = Network(backbone.module, small_head(backbone), settings, 0)
    groups = network.parameter_groups()
    rates = sorted({group["lr"] for group in groups}, reverse=True)
    assert rates == [0.5**depth for depth in range(len(stages(backbone.module)) + 1)]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    for group in groups:
        assert {one.ndim > 1 for one in group["params"]} == {group["weight_decay"] == 0.1}


def test_a_probe_starts_with_the_heads_answers_and_a_random_head_with_none() -> None:
    backbone = small_backbone()
    head = small_head(backbone)
    photos = torch.randn(4, 3, 32, 32)
    probe, fresh = (Network(backbone.module, head, FineTuning(head=kind), 0).eval() for kind in ("probe", "random"))  # type: ignore[arg-type]
    features = backbone.module(photos).numpy()
    assert np.allclose(probe(photos).detach().numpy(), head.logits(features), atol=1e-5)
    assert not fresh(photos).any()


def test_the_parts_of_a_joined_backbone_are_trained_with_it(drawn: Path) -> None:
    parts = (small_backbone("test_resnet"), small_backbone("test_efficientnet"))
    joined = replace(
        parts[0],
        name="test_resnet+test_efficientnet",
        module=_Joined([part.module for part in parts]).eval(),
        width=sum(part.width for part in parts),
        parts=parts,
    )
    tuned = tune(drawn, replace(QUICK, stages=1), backbone=joined).backbone
    photos = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        apart = torch.cat([part.module(photos) for part in tuned.parts], dim=1)
        assert torch.equal(tuned.module(photos), apart)
    assert all(after.weights != before.weights for after, before in zip(tuned.parts, parts, strict=True))


def test_a_rule_ends_the_training_in_order(drawn: Path) -> None:
    class Stop(Observers):
        def step(self, step: Step) -> None:
            if step.number == 5:
                raise StopTraining("enough")

    tuned = tune(drawn, QUICK, observer=Stop())
    assert tuned.stopped == "enough"
    assert len(tuned.history) == 2


def test_damaged_photos_are_skipped_with_a_reason(data: Path) -> None:
    (data / "train" / "bee" / "0.jpg").write_bytes(b"no photo")
    (data / "valid" / "owl" / "1.jpg").write_bytes((data / "valid" / "owl" / "1.jpg").read_bytes()[:300])
    tuned = tune(data, EVERYTHING)
    assert tuned.skipped.keys() == {"train/bee/0.jpg", "valid/owl/1.jpg"}
    assert "JPEG" in tuned.skipped["train/bee/0.jpg"]


def test_a_split_without_a_readable_photo_is_refused(data: Path) -> None:
    for file in (data / "valid").rglob("*.jpg"):
        file.write_bytes(b"no photo")
    with pytest.raises(TrainingError, match="No photo of the valid split can be read"):
        tune(data, QUICK)


def test_a_training_that_diverges_says_what_to_do(drawn: Path) -> None:
    with pytest.raises(TrainingError, match="--finetune-learning-rate"):
        tune(drawn, replace(QUICK, learning_rate=1e30, amp="off"))


def test_precision_is_what_was_asked_for() -> None:
    cpu = torch.device("cpu")
    assert precision("off", cpu) == torch.float32
    assert precision("bfloat16", cpu) == torch.bfloat16
    assert precision("auto", cpu) in (torch.float32, torch.bfloat16)


def run(root: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Trains with EVERYTHING in a process of its own."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "support.tuning",
            json.dumps({"root": str(root), "settings": [EVERYTHING.__dict__], **more}),
        ],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )


def result(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What came of it, but for the time that it took."""
    assert process.returncode == 0, process.stderr
    [told] = json.loads(process.stdout)
    return {**told, "history": [{**epoch, "seconds": 0} for epoch in told["history"]]}


def test_a_training_killed_at_any_step_ends_with_the_same_bits_once_resumed(drawn: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for step in (0, 3, 9):  # before the first checkpoint, within an epoch, and within the last
        assert run(drawn, kill=step, checkpoints=str(kept)).returncode == -signal.SIGKILL
    assert result(run(drawn, checkpoints=str(kept))) == result(run(drawn))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_after_a_step_with_a_checkpoint(
    drawn: Path, tmp_path: Path, number: signal.Signals
) -> None:
    kept = tmp_path / "kept"
    ended = run(drawn, kill=3, signal=number, checkpoints=str(kept), every_steps=1000)
    assert ended.returncode == 100 + number, ended.stderr
    assert [path.name for path in kept.iterdir()] == ["000000004.checkpoint"]
    assert result(run(drawn, checkpoints=str(kept))) == result(run(drawn))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_noted_for_as_long_as_the_training_lasts(number: signal.Signals) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with interruptions() as interruption:
        signal.raise_signal(number)
        assert interruption.signal == number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_checkpoint_of_other_settings_is_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        tune(drawn, QUICK, observer=KillAt(0, signal.SIGTERM), keeping=Keeping(tmp_path))
    with pytest.raises(TrainingError, match=r"learning_rate is 0\.001 there and 0\.5 here"):
        tune(drawn, replace(QUICK, learning_rate=0.5), keeping=Keeping(tmp_path))
    with pytest.raises(TrainingError, match="seed is 0 there and 4 here"):
        tune(drawn, QUICK, seed=4, keeping=Keeping(tmp_path))
