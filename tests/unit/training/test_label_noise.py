from __future__ import annotations

import numpy as np
import pytest
import torch

from whippet_training.head import Examples, Labels
from whippet_training.inference import Floats
from whippet_training.label_noise import SHRINKAGE, LabelNoise, leave_one_out_logits, suspects
from whippet_training.observe import StopTraining
from whippet_training.ruleset import RuleSet, parse_actions

CLASSES, WIDTH = 5, 24


def photos(count: int, seed: int = 0, noise: float = 1.0) -> tuple[Floats, Labels]:
    centres = np.random.default_rng(99).normal(size=(CLASSES, WIDTH)) * 1.5
    labels = np.arange(count) % CLASSES
    values = centres[labels] + np.random.default_rng(seed).normal(size=(count, WIDTH)) * noise
    return values.astype(np.float32), labels


def discriminant(features: Floats, labels: Labels, photo: Floats, ridge: float) -> Floats:
    """Linear discriminant analysis, written down once more without a shortcut."""
    counts = np.bincount(labels, minlength=CLASSES)
    means = np.stack([features[labels == i].mean(axis=0, dtype=np.float64) for i in range(CLASSES)])
    residuals = features - means[labels]
    inverse = np.linalg.inv(residuals.T @ residuals + ridge * np.eye(WIDTH))
    gaps = photo - means
    result: Floats = np.log(counts) - 0.5 * (len(labels) + 1 - CLASSES) * np.einsum("cd,de,ce->c", gaps, inverse, gaps)
    return result


def test_every_photo_is_judged_by_a_classifier_that_has_not_seen_it() -> None:
    features, labels = photos(60)
    labels = labels.copy()
    labels[7] = 3
    means = np.stack([features[labels == i].mean(axis=0, dtype=np.float64) for i in range(CLASSES)])
    ridge = SHRINKAGE * ((features - means[labels]) ** 2).sum() / WIDTH
    logits = leave_one_out_logits(features, labels, CLASSES)
    for i in (0, 7, 31, 59):
        others = np.arange(60) != i
        expected = discriminant(features[others], labels[others], features[i], ridge)
        given, expected = logits[i] - logits[i].mean(), expected - expected.mean()
        # The class's own prior counts the photo itself; the logarithm of 12 for 11 photos is all that differs.
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=0.1)


def test_more_features_than_photos_and_a_class_of_one_photo_are_judged_too() -> None:
    features, labels = photos(21)
    features = np.concatenate([features] * 3, axis=1)
    labels = np.where(np.arange(21) == 20, 4, labels % 4)
    logits = leave_one_out_logits(features, labels, CLASSES)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) == labels)[:20].mean() > 0.6


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_photos_give_the_same_bits(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    first, second = (leave_one_out_logits(*photos(100), CLASSES) for _ in "12")
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("part", [0.05, 0.15])
def test_labels_changed_at_random_are_the_suspects_and_set_off_the_rule(part: float) -> None:
    features, labels = photos(600)
    draw = np.random.default_rng(1)
    changed = np.flatnonzero(draw.random(600) < part)
    wrong = labels.copy()
    wrong[changed] = (labels[changed] + draw.integers(1, CLASSES, len(changed))) % CLASSES
    found = suspects(leave_one_out_logits(features, wrong, CLASSES), wrong)
    named = {one.number for one in found}
    assert len(named & set(changed.tolist())) >= 0.6 * len(changed)
    assert len(named - set(changed.tolist())) <= 0.25 * len(named)
    assert all(one.looks_like == labels[one.number] for one in found if one.number in changed)
    assert [one.own_score for one in found] == sorted(one.own_score for one in found)
    told: list[str] = []
    rules = RuleSet(tell=told.append)
    assert rules.judge_labels(Examples(features, wrong), CLASSES) == found
    assert [one.rule for one in rules.findings] == ["label-noise"]
    assert "of 600 training photos look like another class" in told[0]
    with pytest.raises(StopTraining, match="label-noise"):
        RuleSet(parse_actions(["label-noise=stop"]), tell=told.append).judge_labels(Examples(features, wrong), CLASSES)
    assert RuleSet(parse_actions(["label-noise=off"])).judge_labels(Examples(features, wrong), CLASSES) == []


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.5], ids=["easy", "middling", "hard"])
def test_good_labels_set_off_nothing_however_hard_the_photos_are(noise: float) -> None:
    features, labels = photos(600, noise=noise)
    found = suspects(leave_one_out_logits(features, labels, CLASSES), labels)
    assert LabelNoise().judge(found, 600) is None
