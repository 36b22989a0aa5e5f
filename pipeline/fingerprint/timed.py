"""What fingerprints of sounds and videos share: levels of a few bands over shares of the duration.

A copy may be cut at both ends and be a little faster or slower. In shares of the duration its whole is then one
interval of its original, so the hash of the whole is looked up among the hashes of a grid of intervals, and what is
found is verified: the interval that agrees best is searched for, must agree in its details, and must tell a tempo
near 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..near_duplicates import BandIndex, Pairs, doubtful_bits
from .cosines import cosines

NUM_BINS, HASH_BITS = 128, 64
#: Intervals are looked for down to this share of the duration, on a grid of this share.
_MIN_SHARE, _STEP = 0.8, 0.025
_MIN_ADJUSTED_SHARE = 0.77
_ADJUSTMENTS = (0.0125, 0.0125, 0.006, 0.006, 0.003, 0.0015)
#: Every so many steps of the grid, an interval is tried before the adjustments.
_COARSE_STEPS = 2
_FLIPS_PER_BAND = 3
_CHUNK_SOURCES, _CHUNK_CANDIDATES = 256, 2048

Levels = NDArray[np.float32]
Intervals = NDArray[np.float64]


def packed(duration_seconds: float, levels: NDArray[np.uint8]) -> bytes:
    """Return a fingerprint: duration in ms (uint32), then levels uint8 [num_bands, NUM_BINS]."""
    return round(1000 * duration_seconds).to_bytes(4, "little") + bytes(levels.tobytes())


def unpacked(data: Sequence[bytes], num_bands: int) -> tuple[NDArray[np.float64], Levels]:
    """Return (duration in ms, float64 [n]; levels, float32 [n, num_bands, NUM_BINS]) of fingerprints."""
    rows = np.frombuffer(b"".join(data), np.uint8).reshape(len(data), 4 + num_bands * NUM_BINS)
    duration = rows[:, :4].copy().view("<u4")[:, 0].astype(np.float64)
    return duration, rows[:, 4:].reshape(-1, num_bands, NUM_BINS).astype(np.float32)


@cache
def intervals() -> Intervals:
    """Return the grid of intervals, the whole first: start and share, float64 [num_intervals, 2]."""
    num_steps = round((1 - _MIN_SHARE) / _STEP)
    return np.array(
        [(start * _STEP, 1 - cut * _STEP) for cut in range(num_steps + 1) for start in range(cut + 1)], np.float64
    )


def hash_weights(planes: NDArray[np.float32], times: Sequence[int]) -> NDArray[np.float32]:
    """Return what each bit of each interval weighs levels with, float32 [num_intervals * 64, num_bands * NUM_BINS].

    Args:
        planes: weights of the bands, float32 [64, num_bands].
        times: frequency over the interval of each bit.
    """
    grid = intervals()
    over_time = cosines(grid[:, 0], grid[:, 1], NUM_BINS, max(times) + 1)
    weights: NDArray[np.float32] = np.einsum("bp,kbt->kbpt", planes, over_time[:, list(times)]).astype(np.float32)
    return weights.reshape(len(grid) * HASH_BITS, -1)


def candidates(levels: Levels, weights: NDArray[np.float32], max_bits: int) -> Iterator[tuple[Pairs, Intervals]]:
    """Yield what may be copies: (rows of `levels` that are original and copy, int64 [m, 2]; intervals [m, 2]).

    Args:
        levels: float32 [n, num_bands, NUM_BINS].
        weights: as hash_weights returns them.
        max_bits: bits in which the hashes of an interval and of a copy may differ.
    """
    flat = levels.reshape(len(levels), -1)
    of_whole = flat @ weights[:HASH_BITS].T
    index = BandIndex(_bits(of_whole)[:, 0], doubtful_bits(of_whole, _FLIPS_PER_BAND))
    for first in range(0, len(levels), _CHUNK_SOURCES):
        hashes = _bits(flat[first : first + _CHUNK_SOURCES] @ weights.T)
        for found in index.candidates(hashes, first, max_bits, _CHUNK_CANDIDATES):
            yield found[:, :2], intervals()[found[:, 2]]


def _bits(weighed: NDArray[np.float32]) -> NDArray[np.uint64]:
    bits = (weighed > 0).reshape(len(weighed), -1, HASH_BITS)
    return np.packbits(bits, axis=-1).view(np.uint64)[..., 0]


def aligned(
    whole: Levels, copy: Levels, begin: Intervals, num_frequencies: int
) -> tuple[NDArray[np.float64], Intervals]:
    """Return (correlation of changes over time, float64 [n]; the interval of `whole` that agrees best with `copy`).

    Args:
        whole: levels of the possible originals, float32 [n, num_bands, NUM_BINS].
        copy: levels of the possible copies, float32 [n, num_bands, NUM_BINS].
        begin: intervals to start from, float64 [n, 2]; hashes cannot tell near ones apart, so others are tried, too.
        num_frequencies: over an interval that are compared; the mean, which is the first, is not.
    """
    entire = np.tile(np.array([0.0, 1.0]), (len(copy), 1))
    wanted = changes(copy, entire, num_frequencies)
    best_at = begin.copy()
    best = correlation(changes(whole, best_at, num_frequencies), wanted)
    for other in _coarse_intervals():
        tried = np.broadcast_to(other, best_at.shape)
        found = correlation(changes(whole, tried, num_frequencies), wanted)
        better = found > best
        best_at[better], best[better] = other, found[better]
    for step in _ADJUSTMENTS:
        for move in ((step, -step), (-step, step), (0, step), (0, -step), (step, 0), (-step, 0)):
            moved = best_at + np.array(move)
            inside = (moved[:, 0] >= -1e-9) & (moved.sum(axis=1) <= 1 + 1e-9) & (moved[:, 1] >= _MIN_ADJUSTED_SHARE)
            found = correlation(changes(whole, moved, num_frequencies), wanted)
            better = (found > best) & inside
            best_at[better], best[better] = moved[better], found[better]
    return best, best_at


def _coarse_intervals() -> Intervals:
    return np.array([at for at in intervals() if not np.any(np.rint(at / _STEP).astype(int) % _COARSE_STEPS)])


def changes(levels: Levels, of: Intervals, num_frequencies: int) -> NDArray[np.float32]:
    """Return the frequencies over time of intervals, without each band's mean, float32 [n, num_bands * (num - 1)]."""
    over_time = cosines(of[:, 0], of[:, 1], NUM_BINS, num_frequencies)[:, 1:]
    return (levels @ over_time.transpose(0, 2, 1)).reshape(len(levels), -1).astype(np.float32)


def correlation(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows, float64 [n]."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine: NDArray[np.float64] = ((found * wanted).sum(axis=1) / np.maximum(norms, 1e-6)).astype(np.float64)
    return cosine
