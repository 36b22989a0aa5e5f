"""Fingerprints of sounds: a small spectrogram of the whole, in shares of its duration.

A copy may be cut at both ends and be a little faster or slower. In shares of the duration its whole is then one
interval of its original, so the hash of the whole is looked up among the hashes of a grid of intervals, and what is
found is verified: the interval that agrees best is searched for, must agree in its details, and must tell a tempo
near 1. Each band's mean is left out: it says which microphone, not what was heard.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..items import Waveform
from ..near_duplicates import BandIndex, Pairs, doubtful_bits
from .cosines import cosines

#: Name and version of this fingerprint; stands beside every one that is kept.
KIND = "audio-1"
NUM_MEL_BANDS, NUM_BINS = 24, 128
NUM_BYTES = 4 + NUM_MEL_BANDS * NUM_BINS
HASH_BITS = 64
#: A window of 32 ms at 16 kHz; at least 4 of them a bin, at most 320 (further ones are passed over).
_WINDOW_SECONDS = 0.032
_MIN_WINDOWS, _MAX_WINDOWS = 4 * NUM_BINS, 320 * NUM_BINS
#: Decibels below the loudest that are told apart.
_RANGE_DB = 60.0
#: Intervals are looked for down to this share of the duration, on a grid of this share.
_MIN_SHARE, _STEP = 0.8, 0.025
_MIN_ADJUSTED_SHARE = 0.77
_NUM_FREQUENCIES = 48
#: Below this standard deviation within bands (of 255 levels) there is nothing to tell a sound by.
_MIN_CONTRAST = 4.0
#: Two sounds are copies where details correlate at least this much and the tempo differs at most by this share.
_MIN_CORRELATION, _MAX_TEMPO = 0.95, 0.035
_ADJUSTMENTS = (0.0125, 0.0125, 0.006, 0.006, 0.003, 0.0015)
_MAX_BITS, _FLIPS_PER_BAND = 10, 3
_CHUNK_SOUNDS, _CHUNK_CANDIDATES = 256, 2048


def fingerprint(item: Waveform) -> bytes | None:
    """Return the sound's fingerprint: duration in ms (uint32), levels uint8 [24 bands, 128 bins]; None: silent."""
    levels = _levels(item)
    if levels is None:
        return None
    bins = np.linspace(0, len(levels), NUM_BINS + 1)
    before = np.concatenate([np.zeros((1, NUM_MEL_BANDS)), np.cumsum(levels, axis=0, dtype=np.float64)])
    whole = np.floor(bins).astype(np.int64)
    after = np.minimum(whole + 1, len(levels))
    at_edge = before[whole] + (bins - whole)[:, None] * (before[after] - before[whole])
    means = np.diff(at_edge, axis=0) / np.diff(bins)[:, None]
    scaled = np.clip(np.rint(255 * (1 + (means - levels.max()) / _RANGE_DB)), 0, 255).astype(np.uint8)
    duration_ms = round(1000 * item.duration_seconds)
    return duration_ms.to_bytes(4, "little") + bytes(scaled.T.tobytes())


def copies(data: list[bytes]) -> Pairs:
    """Return the pairs of rows that are (original, copy), int64 [m, 2]."""
    packed = np.frombuffer(b"".join(data), np.uint8).reshape(len(data), NUM_BYTES)
    duration = packed[:, :4].copy().view("<u4")[:, 0].astype(np.float64)
    levels = packed[:, 4:].reshape(-1, NUM_MEL_BANDS, NUM_BINS).astype(np.float32)
    levels -= levels.mean(axis=2, keepdims=True)
    detailed = np.flatnonzero(levels.std(axis=(1, 2)) >= _MIN_CONTRAST)
    levels, duration = levels[detailed], duration[detailed]
    if len(levels) < 2:
        return np.empty((0, 2), np.int64)
    weights = levels.reshape(len(levels), -1) @ _hash_weights()[:HASH_BITS].T
    index = BandIndex(_hashes(levels, of_intervals=False)[:, 0], doubtful_bits(weights, _FLIPS_PER_BAND))
    found = [np.empty((0, 2), np.int64)]
    for first in range(0, len(levels), _CHUNK_SOUNDS):
        hashes = _hashes(levels[first : first + _CHUNK_SOUNDS], of_intervals=True)
        for candidates in index.candidates(hashes, first, _MAX_BITS, _CHUNK_CANDIDATES):
            whole, copy, at = candidates.T
            ratio = duration[copy] / duration[whole]
            verdict, _ = are_copies(levels[whole], levels[copy], _intervals()[at], ratio)
            found.append(detailed[candidates[verdict, :2]])
    return np.concatenate(found)


def are_copies(
    whole: NDArray[np.float32],
    copy: NDArray[np.float32],
    intervals: NDArray[np.float64],
    ratio: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether each `copy` is about the interval of `whole`: (bool [n], correlation of details [n]).

    Args:
        whole: levels, float32 [n, 24, 128].
        copy: levels of the possible copies, float32 [n, 24, 128].
        intervals: start and share to start from, float64 [n, 2].
        ratio: duration of the copy in durations of the whole, float64 [n].
    """
    entire = np.tile(np.array([0.0, 1.0]), (len(copy), 1))
    wanted = _coefficients(copy, entire)
    intervals = intervals.copy()
    best = _correlation(_coefficients(whole, intervals), wanted)
    for step in _ADJUSTMENTS:
        for move in ((step, -step), (-step, step), (0, step), (0, -step), (step, 0), (-step, 0)):
            moved = intervals + np.array(move)
            inside = (moved[:, 0] >= -1e-9) & (moved.sum(axis=1) <= 1 + 1e-9) & (moved[:, 1] >= _MIN_ADJUSTED_SHARE)
            correlation = _correlation(_coefficients(whole, moved), wanted)
            better = (correlation > best) & inside
            intervals[better], best[better] = moved[better], correlation[better]
    tempo = ratio / intervals[:, 1]
    return (best >= _MIN_CORRELATION) & (np.abs(tempo - 1) <= _MAX_TEMPO), best


def _levels(item: Waveform) -> NDArray[np.float32] | None:
    """Return mel levels of windows over the sound, dB, float32 [num_windows, 24]; None where all is silent."""
    num = len(item.samples)
    size = max(16, round(_WINDOW_SECONDS * item.sample_rate_hz))
    if num < size:
        return None
    num_windows = int(np.clip(2 * num // size, _MIN_WINDOWS, _MAX_WINDOWS))
    starts = np.linspace(0, num - size, num_windows).astype(np.int64)
    window, filters = np.hanning(size).astype(np.float32), _mel_filters(size, item.sample_rate_hz)
    power = [
        np.abs(np.fft.rfft(item.samples[block[:, None] + np.arange(size)] * window)) ** 2 @ filters
        for block in np.array_split(starts, -(-num_windows // 1024))
    ]
    energy = np.concatenate(power)
    if energy.max() <= 0:
        return None
    floor = energy.max() * 10 ** (-_RANGE_DB / 10)
    decibels: NDArray[np.float32] = (10 * np.log10(np.maximum(energy, floor))).astype(np.float32)
    return decibels


def _mel_filters(size: int, rate_hz: int) -> NDArray[np.float64]:
    """Return triangular filters from 100 Hz to 3.8 kHz, equally wide in mel, float64 [size // 2 + 1, 24]."""
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (100.0, 3800.0))
    mel = np.linspace(lowest, highest, NUM_MEL_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.fft.rfftfreq(size, 1 / rate_hz)[:, None]
    rising = (hertz - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hertz) / np.diff(edges)[1:]
    triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles


@cache
def _intervals() -> NDArray[np.float64]:
    """Return the grid of intervals, the whole first: start and share, float64 [num_intervals, 2]."""
    num_steps = round((1 - _MIN_SHARE) / _STEP)
    return np.array(
        [(start * _STEP, 1 - cut * _STEP) for cut in range(num_steps + 1) for start in range(cut + 1)], np.float64
    )


@cache
def _hash_weights() -> NDArray[np.float32]:
    """Return what each hash bit of each interval weighs the levels with, float32 [num_intervals * 64, 24 * 128]."""
    grid = _intervals()
    # A step in pitch counts like two in time: there is less of it.
    frequencies = sorted(
        ((pitch, time) for pitch in range(8) for time in range(1, 24)), key=lambda pair: (2 * pair[0] + pair[1], pair)
    )[:HASH_BITS]
    over_time = cosines(grid[:, 0], grid[:, 1], NUM_BINS, 24)
    over_pitch = cosines(np.zeros(1), np.ones(1), NUM_MEL_BANDS, 8)[0]
    planes = [np.einsum("p,kt->kpt", over_pitch[pitch], over_time[:, time]) for pitch, time in frequencies]
    return np.stack(planes, axis=1).reshape(len(grid) * HASH_BITS, -1)


def _hashes(levels: NDArray[np.float32], *, of_intervals: bool) -> NDArray[np.uint64]:
    weights = _hash_weights() if of_intervals else _hash_weights()[:HASH_BITS]
    bits = (levels.reshape(len(levels), -1) @ weights.T > 0).reshape(len(levels), -1, HASH_BITS)
    return np.packbits(bits, axis=-1).view(np.uint64)[..., 0]


def _coefficients(levels: NDArray[np.float32], intervals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the frequencies over time of intervals of sounds, without each band's mean, float32 [n, 24 * 47]."""
    over_time = cosines(intervals[:, 0], intervals[:, 1], NUM_BINS, _NUM_FREQUENCIES)[:, 1:]
    return (levels @ over_time.transpose(0, 2, 1)).reshape(len(levels), -1).astype(np.float32)


def _correlation(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine: NDArray[np.float64] = ((found * wanted).sum(axis=1) / np.maximum(norms, 1e-6)).astype(np.float64)
    return cosine
