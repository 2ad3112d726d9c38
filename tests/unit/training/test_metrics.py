from __future__ import annotations

import math

import numpy as np
import pytest

from whippet_training.metrics import calibration, confusion_matrix, fit_temperature, per_class, softmax, summarise

LABELS = np.array([0, 1, 2, 0])
LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.9, 0.05, 0.05]], dtype=np.float32))


def test_accuracy_and_loss_are_means_over_photos() -> None:
    summary = summarise(LOGITS, LABELS)
    assert summary["top1"] == 0.75
    assert summary["top5"] == 1.0
    expected = -(math.log(0.7) + math.log(0.6) + math.log(0.2) + math.log(0.9)) / 4
    assert summary["loss"] == pytest.approx(expected, rel=1e-6)
    assert summary["images"] == 4


def test_top5_counts_the_five_best() -> None:
    logits = np.tile(np.arange(7, dtype=np.float32), (2, 1))
    assert summarise(logits, np.array([2, 1]))["top5"] == 0.5


def test_a_confident_model_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4)
    assert calibration(probabilities, np.array([0, 0, 0, 1])).error == pytest.approx(0)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10)
    assert calibration(probabilities, np.array([0] * 5 + [1] * 5)).error == pytest.approx(0.4)


def test_precision_and_recall_come_from_the_confusion_matrix() -> None:
    matrix = confusion_matrix(LOGITS.argmax(axis=1), LABELS, 4)
    assert matrix.tolist() == [[2, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    rows = per_class(matrix, ["a", "b", "c", "d"])
    assert rows[0] == {"class": "a", "precision": pytest.approx(2 / 3), "recall": 1.0, "images": 2}
    assert (rows[2]["precision"], rows[2]["recall"]) == (None, 0.0)
    assert (rows[3]["precision"], rows[3]["recall"]) == (None, None)


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 0.0]], dtype=np.float32)), [[1.0, 0.0]])


def test_the_temperature_makes_scores_as_sure_as_the_answers_are_right() -> None:
    draw = np.random.default_rng(5)
    honest = draw.normal(size=(20_000, 6)).astype(np.float32) * 2
    labels = np.array([draw.choice(6, p=row) for row in softmax(honest)])
    for factor in (0.5, 1.0, 3.0):
        logits = honest * np.float32(factor)
        temperature = fit_temperature(logits, labels)
        assert temperature == pytest.approx(factor, rel=0.05)
        assert calibration(softmax(logits / np.float32(temperature)), labels).error < 0.01


def test_photos_that_are_all_right_do_not_ask_for_a_temperature_of_zero() -> None:
    assert fit_temperature(np.eye(5, dtype=np.float32), np.arange(5)) == pytest.approx(0.25)
