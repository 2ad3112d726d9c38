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
