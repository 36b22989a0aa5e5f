"""Intervals hold what they promise; verdicts follow from them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.audit.scores import (
    MIN_GROUPS,
    Score,
    accuracy_score,
    explained_score,
    holm,
    mean_score,
)


def test_right_answers_score_1_and_one_answer_for_all_scores_0() -> None:
    labels, groups = np.arange(80) % 4, np.arange(80) // 4
    assert accuracy_score(labels, labels, groups).value == 1
    assert accuracy_score(labels, np.zeros(80, np.int64), groups).value == 0


def test_unequal_classes_have_the_same_chance() -> None:
    labels = np.asarray([0] * 90 + [1] * 10)
    assert accuracy_score(labels, np.zeros(100, np.int64), np.arange(100)).value == pytest.approx(0)


def test_always_right_on_few_groups_is_not_certain() -> None:
    labels, groups = np.arange(20) % 2, np.arange(20)
    assert accuracy_score(labels, labels, groups).low == pytest.approx(2 * 20 / (20 + 1.96**2) - 1, abs=1e-3)


@pytest.mark.parametrize("per_group", [1, 4])
@pytest.mark.parametrize("num_groups", [20, 100])
def test_the_interval_of_an_accuracy_holds_the_truth_95_times_of_100(num_groups: int, per_group: int) -> None:
    """Groups differ in how often the probe is right: examples of one group are far from independent."""
    rng = np.random.default_rng(0)
    num_held = 0
    for _ in range(1000):
        ability = rng.beta(3, 2, num_groups)
        is_right = rng.random((num_groups, per_group)) < ability[:, None]
        labels = rng.integers(0, 2, is_right.shape)
        predicted = np.where(is_right, labels, 1 - labels)
        groups = np.repeat(np.arange(num_groups), per_group)
        score = accuracy_score(labels.ravel(), predicted.ravel(), groups)
        num_held += score.low <= 2 * 0.6 - 1 <= score.high
    # Of 20 groups the linearised error is a little too small.
    assert (920 if num_groups == 20 else 930) <= num_held <= 970


def test_the_interval_of_r2_holds_the_truth_95_times_of_100() -> None:
    rng = np.random.default_rng(1)
    num_held = 0
    for _ in range(500):
        shared = rng.normal(0, 0.7, (60, 1))
        cue = rng.normal(0, 1, (60, 5)) * 0.8
        truth = cue + shared * 0.3 + rng.normal(0, 0.5, (60, 5))
        score = explained_score(truth.ravel(), cue.ravel(), np.repeat(np.arange(60), 5))
        total = 0.64 + 0.49 * 0.09 + 0.25
        num_held += score.low <= 1 - (0.49 * 0.09 + 0.25) / total <= score.high
    assert 460 <= num_held <= 490


def test_ignoring_groups_would_be_too_sure() -> None:
    labels = np.tile([0, 1], 100)
    predicted = labels.copy()
    predicted[100:] = 1 - predicted[100:]
    by_group = accuracy_score(labels, predicted, np.repeat(np.arange(20), 10))
    by_example = accuracy_score(labels, predicted, np.arange(200))
    assert by_group.high - by_group.low > 2 * (by_example.high - by_example.low)


def _score(value: float, half: float, num_groups: int = 100, num_examples: int = 1000) -> Score:
    return Score(value, value - half, value + half, half / 2, num_examples, num_groups)


@pytest.mark.parametrize(
    ("value", "half", "num_groups", "verdict"),
    [
        (0.0, 0.04, 100, "pass"),
        (0.0, 0.06, 100, "inconclusive"),
        (0.1, 0.05, 100, "fail"),
        (0.1, 0.09, 100, "inconclusive"),
        (0.04, 0.005, 100, "pass"),
        (0.9, 0.01, MIN_GROUPS - 1, "inconclusive"),
    ],
)
def test_verdicts(value: float, half: float, num_groups: int, verdict: str) -> None:
    assert _score(value, half, num_groups).verdict == verdict


def test_a_larger_error_widens_the_interval_and_a_smaller_one_changes_nothing() -> None:
    score = Score(0.2, 0.1, 0.3, 0.05, 400, 100)
    assert score.with_error(0.04) == score
    wider = score.with_error(0.1)
    assert (wider.value, wider.standard_error) == (0.2, 0.1)
    assert wider.high - 0.2 == pytest.approx(0.2 - wider.low) == pytest.approx(0.1984, abs=1e-3)


def test_as_many_examples_are_missing_as_the_half_width_needs() -> None:
    assert _score(0.0, 0.1).num_missing == 3000
    assert _score(0.0, 0.04).num_missing == 0
    assert _score(0.5, 0.1, num_groups=6).num_missing == 1000


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(after >= before for after, before in zip(adjusted, p_values, strict=True))
    by_size = sorted(zip(p_values, adjusted, strict=True))
    assert all(left[1] <= right[1] for left, right in itertools.pairwise(by_size))


def test_holm_as_in_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_mean_has_the_error_of_its_groups() -> None:
    score = mean_score(np.asarray([0.0, 0.0, 1.0, 1.0]), np.asarray([0, 0, 1, 1]))
    assert (score.value, score.standard_error) == pytest.approx((0.5, 0.5))
