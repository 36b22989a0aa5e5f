from __future__ import annotations

import numpy as np
from unlabeled.trainers.keyed import keyed_uniform, step_seed

IDS = [f"{number:032x}" for number in range(1, 2001)]


def test_numbers_follow_the_example_not_its_place_in_the_batch() -> None:
    forward = keyed_uniform("a", 1, 0, IDS, 3)
    backward = keyed_uniform("a", 1, 0, IDS[::-1], 3)
    np.testing.assert_array_equal(forward, backward[::-1])


def test_purpose_seed_and_epoch_all_change_them() -> None:
    drawn = [keyed_uniform(*key, IDS, 1)[:, 0] for key in (("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("a", 1, 1))]
    correlations = np.corrcoef(drawn)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 0.1


def test_they_are_uniform_and_independent_of_each_other() -> None:
    drawn = keyed_uniform("a", 1, 0, IDS, 4)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.03)
    assert np.abs(np.corrcoef(drawn.T)[np.triu_indices(4, 1)]).max() < 0.1


def test_step_seeds_differ_from_step_to_step() -> None:
    assert len({step_seed("dropout", 0, step) for step in range(100)}) == 100
