from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.label_draws import balanced_draw, hold_out, random_draw

LABELS = np.repeat(np.arange(4), 25)


@given(seed=st.integers(0, 2**40), draw=st.integers(0, 50))
def test_each_class_comes_equally_often_and_small_draws_are_part_of_larger_ones(seed: int, draw: int) -> None:
    few, many = (balanced_draw(LABELS, num, seed=seed, draw=draw) for num in (3, 9))
    assert np.bincount(LABELS[few]).tolist() == [3, 3, 3, 3]
    assert set(few) < set(many)
    assert np.array_equal(few, balanced_draw(LABELS, 3, seed=seed, draw=draw))


def test_draws_and_seeds_differ() -> None:
    drawn = {tuple(balanced_draw(LABELS, 5, seed=seed, draw=draw)) for seed in (0, 1) for draw in range(5)}
    assert len(drawn) == 10


def test_what_has_no_label_is_never_drawn() -> None:
    labels = np.where(np.arange(100) % 2, LABELS, -1)
    assert (labels[balanced_draw(labels, 12, seed=0, draw=0)] >= 0).all()
    assert (labels[random_draw(labels, 50, seed=0, draw=0)] >= 0).all()


def test_a_random_draw_is_of_distinct_examples_and_nested() -> None:
    few, many = (random_draw(LABELS, num, seed=0, draw=0) for num in (10, 40))
    assert len(set(many)) == 40
    assert set(few) < set(many)


@pytest.mark.parametrize("num", [0, 26])
def test_a_class_without_enough_labels_is_refused(num: int) -> None:
    with pytest.raises(ConfigError, match="labels per class: found"):
        balanced_draw(LABELS, num, seed=0, draw=0)


def test_more_labels_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 1 to 100"):
        random_draw(LABELS, 101, seed=0, draw=0)


def test_holding_out_parts_every_class_alike() -> None:
    kept, held = hold_out(LABELS, 0.2, seed=0)
    assert np.bincount(LABELS[held]).tolist() == [5, 5, 5, 5]
    assert sorted([*kept, *held]) == list(range(100))
