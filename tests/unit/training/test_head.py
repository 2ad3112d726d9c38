from __future__ import annotations

import numpy as np
import pytest
import torch

from whippet_training.head import Examples, train_heads
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
