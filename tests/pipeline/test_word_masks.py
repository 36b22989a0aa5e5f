from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from unlabeled.pipeline.word_masks import mask_words

MASK_ID = 4
ORDINARY = np.arange(5, 1000, dtype=np.int32)


def words(seed: int, num_tokens: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    starts = rng.random(num_tokens) < 0.6
    starts[0] = True
    return rng.choice(ORDINARY, num_tokens), starts


@given(seed=st.integers(0, 1000), num_tokens=st.integers(1, 200))
def test_words_are_hidden_whole(seed: int, num_tokens: int) -> None:
    ids, starts = words(seed, num_tokens)
    _, hidden = mask_words(ids, starts, 0.15, np.random.default_rng(seed), MASK_ID, ORDINARY)
    word_of = np.cumsum(starts)
    for word in np.unique(word_of):
        assert len(set(hidden[word_of == word])) == 1


@given(seed=st.integers(0, 1000), num_tokens=st.integers(1, 200))
def test_what_is_not_hidden_stays(seed: int, num_tokens: int) -> None:
    ids, starts = words(seed, num_tokens)
    seen, hidden = mask_words(ids, starts, 0.15, np.random.default_rng(seed), MASK_ID, ORDINARY)
    assert np.array_equal(seen[~hidden], ids[~hidden])
    assert hidden.any()


@given(seed=st.integers(0, 1000))
def test_the_share_is_met_where_words_are_short(seed: int) -> None:
    ids, starts = words(seed, 120)
    _, hidden = mask_words(ids, starts, 0.15, np.random.default_rng(seed), MASK_ID, ORDINARY)
    assert 16 <= hidden.sum() <= 18


def test_words_become_masks_random_words_or_stay_in_80_10_10() -> None:
    ids, starts = words(0, 60_000)
    seen, hidden = mask_words(ids, starts, 0.5, np.random.default_rng(0), MASK_ID, ORDINARY)
    firsts = hidden & starts
    masked = (seen == MASK_ID)[firsts].mean()
    kept = (seen == ids)[firsts].mean()
    assert abs(masked - 0.8) < 0.015
    assert abs(kept - 0.1) < 0.015
    assert abs((1 - masked - kept) - 0.1) < 0.015


def test_the_tokens_of_a_word_share_one_fate() -> None:
    ids, starts = words(1, 5000)
    seen, hidden = mask_words(ids, starts, 0.5, np.random.default_rng(1), MASK_ID, ORDINARY)
    word_of = np.cumsum(starts)
    for word in np.unique(word_of[hidden]):
        assert len(set((seen == MASK_ID)[word_of == word])) == 1


def test_a_sequence_of_one_long_word_is_hidden_all_the_same() -> None:
    ids = np.arange(10, 20, dtype=np.int32)
    starts = np.zeros(10, bool)
    _, hidden = mask_words(ids, starts, 0.15, np.random.default_rng(0), MASK_ID, ORDINARY)
    assert hidden.all()


def test_the_arguments_are_not_changed() -> None:
    ids, starts = words(0, 50)
    starts[0] = False
    before = ids.copy(), starts.copy()
    mask_words(ids, starts, 0.5, np.random.default_rng(0), MASK_ID, ORDINARY)
    assert np.array_equal(ids, before[0])
    assert np.array_equal(starts, before[1])
