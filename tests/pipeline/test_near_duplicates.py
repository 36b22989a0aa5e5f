from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.near_duplicates import BandIndex, bucket_pairs, components, doubtful_bits, exact_pairs

HASHES = np.random.default_rng(0).integers(0, 2**64, 500, np.uint64)


def test_what_differs_in_few_bits_is_found() -> None:
    wanted = HASHES[[7, 8]] ^ np.array([0b1011, 1 << 40], np.uint64)
    assert BandIndex(HASHES).within(wanted, 5).tolist() == [[0, 7, 3], [1, 8, 1]]


def test_a_bit_in_every_band_hides_a_hash_unless_it_is_doubtful() -> None:
    every_band = np.uint64(1 | 1 << 16 | 1 << 32 | 1 << 48)
    wanted = HASHES[:1] ^ every_band
    assert not len(BandIndex(HASHES).within(wanted, 5))
    doubtful = np.full((len(HASHES), 1), 1, np.uint64)
    assert BandIndex(HASHES, doubtful).within(wanted, 5).tolist() == [[0, 0, 4]]


def test_of_a_value_that_all_share_some_are_looked_at() -> None:
    found = BandIndex(np.zeros(5000, np.uint64)).within(np.zeros(1, np.uint64), 0)
    assert 0 < len(found) < 5000


def test_equal_digests_pair_with_the_first() -> None:
    assert list(exact_pairs(["a", "", "b", "a", "", "a"])) == [(0, 3), (0, 5)]


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_those_of_a_walk(pairs: list[tuple[int, int]]) -> None:
    names = components(30, np.array(pairs, np.int64).reshape(-1, 2))
    expected = list(range(30))
    for _ in range(30):
        for left, right in pairs:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert names.tolist() == expected


def test_equal_values_in_any_band_make_pairs() -> None:
    assert bucket_pairs([["a", "b", "a"], ["x", "y", "y"]]).tolist() == [[0, 2], [1, 2]]
    assert bucket_pairs([[]]).shape == (0, 2)


def test_candidates_name_the_nearest_part() -> None:
    parts = np.stack([HASHES[:3], HASHES[:3] ^ np.uint64(1)], axis=1)
    index = BandIndex(HASHES[:3] ^ np.array([1, 0, 0], np.uint64))
    assert not list(index.candidates(parts, 0, 2, 10))
    assert np.concatenate(list(index.candidates(parts[:1], 1, 2, 10))).tolist() == [[1, 0, 1]]


def test_doubtful_bits_are_the_weakest_of_each_band() -> None:
    weights = np.full((1, 64), 5.0, np.float32)
    weights[0, [3, 20, 40, 63]] = 0.1
    (bits,) = doubtful_bits(weights, 1)
    expected = [np.packbits(np.eye(64, dtype=np.uint8)[at]).view(np.uint64)[0] for at in (3, 20, 40, 63)]
    assert bits.tolist() == expected
