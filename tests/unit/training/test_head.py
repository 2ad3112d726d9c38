from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from whippet_training.errors import TrainingError
from whippet_training.head import Examples, refit, train_head, train_heads
from whippet_training.metrics import summarise
from whippet_training.observe import Epoch, Step, StopTraining
from whippet_training.settings import HeadSettings

CLASSES, WIDTH = 4, 12


def examples(count: int, seed: int, noise: float = 0.3) -> Examples:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, WIDTH)) * np.linspace(0.01, 30, WIDTH) + 5
    labels = draw.integers(0, CLASSES, count)
    features = centres[labels] + draw.normal(size=(count, WIDTH)) * noise * np.linspace(0.01, 30, WIDTH)
    return Examples(features.astype(np.float32), labels)


def test_the_head_classifies_raw_features() -> None:
    trial = train_heads(examples(400, 1), examples(100, 2), CLASSES, HeadSettings(learning_rate=0.01), seed=0)[0]
    test = examples(200, 3)
    assert (trial.head.logits(test.features).argmax(axis=1) == test.labels).mean() > 0.95


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_data_and_seed_give_the_same_bits(threads: int) -> None:
    torch.set_num_threads(threads)
    heads = [train_heads(examples(300, 1), examples(80, 2), CLASSES, HeadSettings(), seed=3)[0].head for _ in "12"]
    assert heads[0].layers[0][0].tobytes() == heads[1].layers[0][0].tobytes()
    assert heads[0].layers[0][1].tobytes() == heads[1].layers[0][1].tobytes()


def test_another_seed_gives_other_bits() -> None:
    first, second = (
        train_heads(examples(300, 1), examples(80, 2), CLASSES, HeadSettings(epochs=5), seed=seed)[0].head
        for seed in (0, 1)
    )
    assert first.layers[0][0].tobytes() != second.layers[0][0].tobytes()


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best_epoch() -> None:
    parameters = HeadSettings(learning_rate=0.05, epochs=200, patience=3, weight_decays=(0.0,))
    trial = train_heads(examples(60, 1, noise=2.0), examples(60, 2, noise=2.0), CLASSES, parameters, seed=0)[0]
    assert len(trial.valid_loss) == trial.epoch + 3 < 200
    assert trial.valid_loss[trial.epoch - 1] == min(trial.valid_loss)


def test_the_weight_decay_with_the_lowest_validation_loss_wins() -> None:
    parameters = HeadSettings(learning_rate=0.01, weight_decays=(1e-2, 50.0))
    trials = train_heads(examples(300, 1), examples(80, 2), CLASSES, parameters, seed=0)
    losses = [min(trial.valid_loss) for trial in trials]
    assert losses == sorted(losses)
    assert {trial.weight_decay for trial in trials} == {1e-2, 50.0}


def rings(count: int, seed: int) -> Examples:
    """Two classes that no line separates: points near the centre, and points around them."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    angle, radius = draw.uniform(0, 2 * np.pi, count), np.where(labels == 1, 3.0, 1.0) + draw.normal(size=count) * 0.2
    return Examples(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), labels)


def test_hidden_units_separate_what_a_line_does_not() -> None:
    test = rings(300, 3)
    right = {}
    for hidden in (0, 32):
        parameters = HeadSettings(learning_rate=0.02, batch_size=64, epochs=80, weight_decays=(0.01,), hidden=hidden)
        head = train_heads(rings(600, 1), rings(200, 2), 2, parameters, seed=0)[0].head
        right[hidden] = (head.logits(test.features).argmax(axis=1) == test.labels).mean()
    assert right[32] > 0.97 > 0.75 > right[0]


@pytest.mark.parametrize("parameters", [HeadSettings(), HeadSettings(hidden=16, dropout=0.2, epochs=5)])
def test_the_head_as_a_network_answers_as_the_head(parameters: HeadSettings) -> None:
    head = train_heads(examples(200, 1), examples(50, 2), CLASSES, parameters, seed=0)[0].head
    features = examples(20, 3).features
    with torch.inference_mode():
        np.testing.assert_allclose(head.module()(torch.from_numpy(features)), head.logits(features), atol=1e-4)
    np.testing.assert_allclose(head.divided(2.0).logits(features), head.logits(features) / 2, rtol=1e-5)


def test_dropout_and_hidden_units_draw_from_the_seed_alone() -> None:
    parameters = HeadSettings(hidden=16, dropout=0.3, epochs=5)
    heads = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        heads.append(train_heads(examples(200, 1), examples(50, 2), CLASSES, parameters, seed=4)[0].head)
    assert all(
        ours.tobytes() == theirs.tobytes()
        for one, other in zip(heads[0].layers, heads[1].layers, strict=True)
        for ours, theirs in zip(one, other, strict=True)
    )


def test_further_views_teach_the_head_what_the_first_does_not_show() -> None:
    """The test photos look like the second views of the training photos."""
    train, shifted, valid = examples(400, 1), examples(400, 1), examples(100, 2)
    moved = Examples(shifted.features[:, ::-1].copy(), shifted.labels)
    test = examples(200, 3)
    right = {}
    for views in ((), (moved.features,)):
        both = Examples(train.features, train.labels, views)
        parameters = HeadSettings(learning_rate=0.02, weight_decays=(0.01,))
        head = train_heads(both, valid, CLASSES, parameters, seed=0)[0].head
        right[len(views)] = (head.logits(test.features[:, ::-1]).argmax(axis=1) == test.labels).mean()
    assert right[1] > right[0] + 0.1


class Witness:
    """Notes what it is told, and asks to stop at a step."""

    def __init__(self, stop_at: int = -1) -> None:
        self.steps: list[Step] = []
        self.epochs: list[Epoch] = []
        self.finished = 0
        self.stop_at = stop_at

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        self.module, self.class_counts = module, list(class_counts)
        if self.stop_at == -2:
            raise StopTraining("too few photos")

    def step(self, step: Step) -> None:
        assert all(weight.grad is not None for weight in self.module.parameters())
        self.steps.append(step)
        if step.number == self.stop_at:
            raise StopTraining("seen enough")

    def epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def finish(self) -> None:
        self.finished += 1


def test_an_observer_sees_every_step_and_epoch_and_changes_nothing() -> None:
    witness = Witness()
    parameters = HeadSettings(epochs=3, batch_size=100, weight_decays=(0.01, 0.1))
    watched, unwatched = (
        train_heads(examples(250, 1), examples(80, 2), CLASSES, parameters, 0, observer) for observer in (witness, None)
    )
    assert watched[0].head.layers[0][0].tobytes() == unwatched[0].head.layers[0][0].tobytes()
    assert [(one.number, one.epoch, one.photos) for one in witness.steps[:4]] == [
        (0, 0, 100), (1, 0, 100), (2, 0, 50), (3, 1, 100)
    ]  # fmt: skip
    assert len(witness.steps) == 2 * 9
    assert witness.steps[0].loss == pytest.approx(np.log(CLASSES), rel=1e-5)
    assert sum(witness.class_counts) == 250
    trials = sorted(watched, key=lambda trial: trial.weight_decay)
    told = [(one.train_loss, one.valid_loss) for one in witness.epochs]
    assert told == [pair for trial in trials for pair in zip(trial.train_loss, trial.valid_loss, strict=True)]
    assert witness.epochs[2].valid_top1 is not None
    assert witness.epochs[2].valid_top1 > 0.5
    assert witness.finished == 2


def test_a_training_that_an_observer_ends_keeps_its_best_epoch_and_the_reason() -> None:
    parameters = HeadSettings(epochs=9, batch_size=100, weight_decays=(0.01,))
    [trial] = train_heads(examples(250, 1), examples(80, 2), CLASSES, parameters, 0, Witness(stop_at=7))
    assert trial.stopped == "seen enough"
    assert len(trial.valid_loss) == 3
    [whole] = train_heads(examples(250, 1), examples(80, 2), CLASSES, parameters, 0)
    assert whole.stopped is None
    assert trial.valid_loss[:2] == whole.valid_loss[:2]
    with pytest.raises(TrainingError, match=r"Nothing was trained.*too few photos"):
        train_heads(examples(250, 1), examples(80, 2), CLASSES, parameters, 0, Witness(stop_at=-2))


def test_an_observer_hears_of_the_end_of_a_training_that_fails() -> None:
    witness = Witness()

    def prune(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_head(examples(250, 1), examples(80, 2), CLASSES, HeadSettings(), 0.01, 0, prune, witness)
    assert witness.finished == 1


def test_a_training_that_diverges_says_so_instead_of_keeping_a_head_that_learned_nothing() -> None:
    train = examples(250, 1)
    train.features[0] = np.nan
    with pytest.raises(TrainingError, match=r"diverged .* at a learning rate of 0\.001: lower it"):
        train_heads(train, examples(80, 2), CLASSES, HeadSettings(epochs=3), 0)


def test_a_refit_head_has_learnt_from_the_validation_photos_too() -> None:
    """A class of which training has two photos and validation has thirty."""
    train, valid, test = examples(300, 1), examples(120, 2), examples(300, 3)
    rare = np.flatnonzero(train.labels == 0)[2:]
    train = Examples(np.delete(train.features, rare, axis=0), np.delete(train.labels, rare))
    parameters = HeadSettings(learning_rate=0.01, weight_decays=(0.01,))
    trial = train_heads(train, valid, CLASSES, parameters, seed=0)[0]
    again = refit(train, valid, CLASSES, parameters, trial, seed=0)
    losses = [summarise(head.logits(test.features), test.labels)["loss"] for head in (trial.head, again)]
    assert losses[1] < losses[0]


def test_a_head_without_validation_photos_is_the_one_after_the_last_epoch() -> None:
    parameters = HeadSettings(learning_rate=0.05, epochs=4)
    trial = train_head(examples(200, 1), None, CLASSES, parameters, 0.01, seed=0)
    assert trial.epoch == len(trial.train_loss) == 4
