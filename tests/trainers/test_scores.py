from __future__ import annotations

import numpy as np
import pytest
from unlabeled.trainers.scores import confusion, paired_interval, score, t_interval

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_confusion_has_labels_as_rows() -> None:
    assert confusion(LABELS, PREDICTED, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found = score(LABELS, PREDICTED, 3)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(LABELS, PREDICTED))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(LABELS, PREDICTED, average="macro"))


def test_a_class_that_nobody_has_does_not_count() -> None:
    assert score(LABELS, PREDICTED, 9).macro_f1 == score(LABELS, PREDICTED, 3).macro_f1


def test_the_interval_is_students() -> None:
    # t[0.975, 4] = 2.776; s = 1.5811; s / sqrt(5) = 0.7071
    found = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.low, found.mean, found.high) == pytest.approx((3 - 1.963, 3, 3 + 1.963), abs=1e-3)
    assert found.excludes_zero


def test_pairing_takes_out_what_both_share() -> None:
    hard_and_easy = np.array([30.0, 50.0, 70.0])
    better = hard_and_easy + np.array([4.9, 5.0, 5.1])
    gain = paired_interval(better.tolist(), hard_and_easy.tolist())
    assert 4 < gain.low < 5 < gain.high < 6
    assert not t_interval(hard_and_easy.tolist()).low > 4


def test_one_draw_has_no_interval() -> None:
    found = t_interval([7.0])
    assert (found.method, found.low, found.high) == ("none", 7.0, 7.0)
    assert not found.excludes_zero
