"""Probes find what is there, nothing where nothing is, and never learn from the group that they are asked about."""

from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.audit.probe import fold_of, permute, probe
from unlabeled.pipeline.audit.scores import MIN_GROUPS

GROUPS = np.repeat(np.arange(100), 4)
LABELS = np.tile(np.arange(4), 100)


def _noise(seed: int, num_cues: int = 6, num: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (num, num_cues)).astype(np.float32)


def test_a_linear_cue_is_found() -> None:
    cues = _noise(0)
    cues[:, 2] += 4 * (LABELS == 3)
    done = probe(cues, LABELS, GROUPS, is_regression=False, seed=0)
    assert done.score.verdict == "fail"
    assert done.control.low < 0 < done.control.high


def test_a_cue_that_no_line_separates_is_found() -> None:
    cues = _noise(1)
    cues[:, 0] = (LABELS % 2) * np.sign(cues[:, 1])
    assert probe(cues, LABELS % 2, GROUPS, is_regression=False, seed=0).score.value > 0.8


def test_a_number_is_found() -> None:
    cues = _noise(2)
    done = probe(cues, cues[:, 1] ** 2 + cues[:, 0].astype(np.float64), GROUPS, is_regression=True, seed=0)
    assert done.score.low > 0.3
    assert done.control.high < 0.1


def test_what_tells_the_source_does_not_tell_its_label() -> None:
    """Of the same source other examples are never in the training folds: knowing a source by heart is no help."""
    labels = np.repeat(np.random.default_rng(3).integers(0, 2, 100), 4)
    cues = np.repeat(_noise(4, num=100), 4, axis=0)
    assert abs(probe(cues, labels, GROUPS, is_regression=False, seed=0).score.value) < 0.25


def test_noise_fails_no_more_often_than_promised() -> None:
    scores = [
        probe(_noise(seed, 3, 160), LABELS[:160] % 2, GROUPS[:160], is_regression=False, seed=seed).score
        for seed in range(5)
    ]
    assert sum(score.low > 0.02 for score in scores) <= 1
    assert all(score.num_groups == 40 > MIN_GROUPS for score in scores)


def test_a_rule_that_is_right_by_luck_in_many_sources_does_not_fail() -> None:
    """The draw tells nothing, but here its luck holds in more sources than they differ by."""
    sizes = [20] * 4 + [6] * 30
    groups = np.repeat(np.arange(34), sizes)
    draws = np.concatenate([np.arange(num) for num in sizes])
    labels = permute(draws % 2, groups, np.random.default_rng(0))
    score = probe(np.eye(20, dtype=np.float32)[draws], labels, groups, is_regression=False, seed=0).score
    assert score.value > 0.1
    assert score.verdict == "inconclusive"


def test_constant_cues_and_values_that_are_no_numbers_say_nothing() -> None:
    cues = np.full((400, 2), np.nan, np.float32)
    score = probe(cues, LABELS, GROUPS, is_regression=False, seed=0).score
    assert (score.value, score.high, score.verdict) == (0, 0, "pass")


def test_folds_hold_whole_groups_of_equal_number() -> None:
    folds = fold_of(GROUPS, seed=5)
    assert all(len(set(folds[group == GROUPS])) == 1 for group in range(100))
    assert np.bincount(folds).tolist() == [80] * 5


def test_permuting_keeps_the_balance_of_a_source() -> None:
    permuted = permute(LABELS, GROUPS, np.random.default_rng(0))
    assert all(sorted(permuted[group == GROUPS]) == [0, 1, 2, 3] for group in range(100))
    assert (permuted != LABELS).mean() == pytest.approx(0.75, abs=0.08)


def test_permuting_keeps_one_label_a_source() -> None:
    labels = np.repeat(np.arange(100) % 2, 4)
    permuted = permute(labels, GROUPS, np.random.default_rng(0))
    assert all(len(set(permuted[group == GROUPS])) == 1 for group in range(100))
    assert sorted(permuted) == sorted(labels)


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second = (probe(_noise(0), LABELS, GROUPS, is_regression=False, seed=1) for _ in range(2))
    assert first == second
