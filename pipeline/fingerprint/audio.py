"""Fingerprints of sounds: a small spectrogram of the whole, in shares of its duration; see timed.py.

Each band's mean is left out: it says which microphone, not what was heard.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..items import Waveform
from ..near_duplicates import Pairs
from .cosines import cosines
from .timed import HASH_BITS, NUM_BINS, Intervals, Levels, aligned, candidates, hash_weights, packed, unpacked

#: Name and version of this fingerprint; stands beside every one that is kept.
KIND = "audio-1"
NUM_MEL_BANDS = 24
NUM_BYTES = 4 + NUM_MEL_BANDS * NUM_BINS
#: A window of 32 ms at 16 kHz; at least 4 of them a bin, at most 320 (further ones are passed over).
_WINDOW_SECONDS = 0.032
_MIN_WINDOWS, _MAX_WINDOWS = 4 * NUM_BINS, 320 * NUM_BINS
#: Decibels below the loudest that are told apart.
_RANGE_DB = 60.0
_NUM_FREQUENCIES = 48
#: Below this standard deviation within bands (of 255 levels) there is nothing to tell a sound by.
_MIN_CONTRAST = 4.0
#: Two sounds are copies where details correlate at least this much and the tempo differs at most by this share.
_MIN_CORRELATION, _MAX_TEMPO = 0.95, 0.035
#: A short sound has few details, and one speaker says a word twice alike: among 1,000 spoken digits, 128 pairs reached
#: 0.95 and 4 reached 0.97, as did 249 of 250 copies.
_SHORT_MS, _MIN_CORRELATION_OF_SHORT = 2000.0, 0.97
_MAX_BITS = 10


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
    return packed(item.duration_seconds, scaled.T)


def copies(data: list[bytes]) -> Pairs:
    """Return the pairs of rows that are (original, copy), int64 [m, 2]."""
    duration, levels = unpacked(data, NUM_MEL_BANDS)
    levels -= levels.mean(axis=2, keepdims=True)
    detailed = np.flatnonzero(levels.std(axis=(1, 2)) >= _MIN_CONTRAST)
    levels, duration = levels[detailed], duration[detailed]
    found = [np.empty((0, 2), np.int64)]
    if len(levels) > 1:
        for pairs, begin in candidates(levels, _hash_weights(), _MAX_BITS):
            whole, copy = pairs.T
            verdict = _are_copies(levels[whole], levels[copy], begin, duration[whole], duration[copy])
            found.append(detailed[pairs[verdict]])
    return np.concatenate(found)


def _are_copies(
    whole: Levels, copy: Levels, begin: Intervals, whole_ms: NDArray[np.float64], copy_ms: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return whether each `copy` is about the interval `begin` of `whole`, bool [n]."""
    best, at = aligned(whole, copy, begin, _NUM_FREQUENCIES)
    least = np.where(copy_ms < _SHORT_MS, _MIN_CORRELATION_OF_SHORT, _MIN_CORRELATION)
    verdict: NDArray[np.bool_] = (best >= least) & (np.abs(copy_ms / whole_ms / at[:, 1] - 1) <= _MAX_TEMPO)
    return verdict


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
def _hash_weights() -> NDArray[np.float32]:
    # A step in pitch counts like two in time: there is less of it.
    frequencies = sorted(
        ((pitch, time) for pitch in range(8) for time in range(1, 24)), key=lambda pair: (2 * pair[0] + pair[1], pair)
    )[:HASH_BITS]
    over_pitch = cosines(np.zeros(1), np.ones(1), NUM_MEL_BANDS, 8)[0]
    return hash_weights(over_pitch[[pitch for pitch, _ in frequencies]], [time for _, time in frequencies])
