from __future__ import annotations

import numpy as np
from unlabeled.pipeline.fingerprint.timed import NUM_BINS, aligned, changes, correlation, intervals, packed, unpacked

RNG = np.random.default_rng(0)
WHOLE = np.array([[0.0, 1.0]])


def test_what_is_packed_is_unpacked() -> None:
    levels = RNG.integers(0, 256, (3, NUM_BINS), dtype=np.uint8)
    duration_ms, found = unpacked([packed(1.234, levels)], 3)
    assert duration_ms.tolist() == [1234]
    assert np.array_equal(found[0], levels)


def test_intervals_begin_with_the_whole_and_lie_inside_it() -> None:
    grid = intervals()
    assert grid[0].tolist() == [0, 1]
    assert (grid[:, 0] >= 0).all()
    assert (grid.sum(axis=1) <= 1 + 1e-9).all()
    assert np.isclose(grid[:, 1].min(), 0.8)


def test_a_band_that_never_changes_has_no_changes() -> None:
    assert np.allclose(changes(np.full((1, 2, NUM_BINS), 7, np.float32), WHOLE, 8), 0, atol=1e-5)


def test_the_interval_that_was_cut_out_is_found() -> None:
    smooth = np.cumsum(RNG.normal(0, 1, (1, 4, 10 * NUM_BINS)), axis=2).astype(np.float32)
    whole = smooth.reshape(1, 4, NUM_BINS, 10).mean(axis=3)
    # From 5 to 95 % of the duration, in as many bins as the whole has.
    places = np.linspace(0.05, 0.95, NUM_BINS, endpoint=False) * smooth.shape[2]
    copy = np.stack([smooth[:, :, int(at) : int(at) + 9].mean(axis=2) for at in places], axis=2)
    found, at = aligned(whole, copy, WHOLE, 24)
    assert found[0] > 0.98
    assert np.allclose(at, [[0.05, 0.9]], atol=0.02)


def test_correlation_of_nothing_is_nothing() -> None:
    assert correlation(np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)).tolist() == [0]
