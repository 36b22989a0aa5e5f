"""Fingerprints of videos: tiny pictures at equal shares of the duration; see timed.py.

The frames are those presented at fixed shares of the time, so another frame rate shows the same ones. A copy must have
the layout of its original on average over time, and change as it does. Where nothing moves, layout is all there is.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..items import Clip, ClipRequest, VideoInfo
from ..near_duplicates import Pairs
from .cosines import cosines
from .timed import (
    HASH_BITS,
    NUM_BINS,
    Intervals,
    Levels,
    aligned,
    candidates,
    correlation,
    hash_weights,
    packed,
    unpacked,
)

#: Name and version of this fingerprint; stands beside every one that is kept.
KIND = "video-2"
#: Side of the pictures, px; they are square whatever the frame's shape.
SIDE_PX = 8
NUM_BYTES = 4 + SIDE_PX**2 * NUM_BINS
_NUM_FREQUENCIES = 24
#: Below these standard deviations (of 255 levels), over the mean picture and over time, nothing is told apart.
_MIN_CONTRAST, _MIN_MOTION = 4.0, 2.0
#: Two videos are copies where mean pictures and changes correlate at least this much; a still one has but the former.
_MIN_LAYOUT, _MIN_CHANGES, _MIN_STILL_LAYOUT = 0.95, 0.9, 0.995
#: The tempo differs at most by this share (films on television are 4.3 % faster; in two seconds a frame is 2 %); of
#: still videos, the duration at most by what may be cut.
_MAX_TEMPO, _MAX_CUT = 0.05, 0.13
#: Half of the bits are those of the mean picture; the others may be noise where little moves.
_NUM_LAYOUT_BITS, _MAX_BITS = 32, 36


def request(info: VideoInfo) -> ClipRequest:
    """Return the frames that the fingerprint is taken of: one in the middle of each of NUM_BINS shares of the time."""
    length_us = max(1, _length_us(info))
    targets_us = (info.start_us + length_us * (2 * np.arange(NUM_BINS, dtype=np.int64) + 1) // (2 * NUM_BINS)).tolist()
    return ClipRequest(
        targets_us=tuple(targets_us),
        crop_box=(0, 0, info.width_px, info.height_px),
        width_px=SIDE_PX,
        height_px=SIDE_PX,
    )


def fingerprint(info: VideoInfo, clip: Clip) -> bytes | None:
    """Return the fingerprint: duration in ms (uint32), luma uint8 [64 pixels, 128 frames]; None: nothing is shown."""
    luma = clip.frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if float(luma.std()) < 1:
        return None
    levels = np.clip(np.rint(luma), 0, 255).astype(np.uint8).reshape(NUM_BINS, SIDE_PX**2).T
    return packed(_length_us(info) / 1e6, levels)


def _length_us(info: VideoInfo) -> int:
    """Return the time from the first frame to the end of the last, which is shown as long as others are on average."""
    between_us = info.end_us - info.start_us
    return between_us + between_us // max(1, info.num_frames - 1)


def copies(data: list[bytes]) -> Pairs:
    """Return the pairs of rows that are (original, copy), int64 [m, 2]."""
    duration, levels = unpacked(data, SIDE_PX**2)
    levels -= levels.mean(axis=(1, 2), keepdims=True)
    detailed = np.flatnonzero((levels.mean(axis=2).std(axis=1) >= _MIN_CONTRAST) | (_motion(levels) >= _MIN_MOTION))
    levels, duration = levels[detailed], duration[detailed]
    found = [np.empty((0, 2), np.int64)]
    if len(levels) > 1:
        for pairs, begin in candidates(levels, _hash_weights(), _MAX_BITS):
            whole, copy = pairs.T
            ratio = duration[copy] / np.maximum(1.0, duration[whole])
            found.append(detailed[pairs[_are_copies(levels[whole], levels[copy], begin, ratio)]])
    return np.concatenate(found)


def _are_copies(whole: Levels, copy: Levels, begin: Intervals, ratio: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each `copy` is about the interval `begin` of `whole`, bool [n]; `ratio`: of their durations."""
    changes, at = aligned(whole, copy, begin, _NUM_FREQUENCIES)
    entire = np.tile(np.array([0.0, 1.0]), (len(copy), 1))
    layout = correlation(_mean_picture(whole, at), _mean_picture(copy, entire))
    moves = (_motion(whole) >= _MIN_MOTION) & (_motion(copy) >= _MIN_MOTION)
    is_tempo = np.abs(ratio / at[:, 1] - 1) <= _MAX_TEMPO
    moving = moves & (layout >= _MIN_LAYOUT) & (changes >= _MIN_CHANGES) & is_tempo
    is_length = (ratio >= 1 - _MAX_CUT) & (ratio <= 1 + _MAX_TEMPO)
    still: NDArray[np.bool_] = ~moves & (layout >= _MIN_STILL_LAYOUT) & is_length
    return moving | still


def _motion(levels: Levels) -> NDArray[np.float32]:
    """Return by how many levels pixels change over time (root mean square), float32 [n]."""
    motion: NDArray[np.float32] = np.sqrt(np.square(levels - levels.mean(axis=2, keepdims=True)).mean(axis=(1, 2)))
    return motion


def _mean_picture(levels: Levels, of: Intervals) -> NDArray[np.float32]:
    """Return the mean of intervals, less the mean over its pixels, float32 [n, 64]."""
    mean = (levels @ cosines(of[:, 0], of[:, 1], NUM_BINS, 1).transpose(0, 2, 1))[..., 0]
    centred: NDArray[np.float32] = mean - mean.mean(axis=1, keepdims=True)
    return centred


@cache
def _hash_weights() -> NDArray[np.float32]:
    order = sorted(((y, x) for y in range(SIDE_PX) for x in range(SIDE_PX)), key=lambda pair: (sum(pair), pair))
    layout = [(place, 0) for place in order[1 : 1 + _NUM_LAYOUT_BITS]]
    changes = [(place, time) for place in order[:10] for time in range(1, 6)]
    changes.sort(key=lambda pair: (sum(pair[0]) + pair[1], pair))
    bits = [*layout, *changes[: HASH_BITS - _NUM_LAYOUT_BITS]]
    along = cosines(np.zeros(1), np.ones(1), SIDE_PX, SIDE_PX)[0]
    planes = np.stack([np.outer(along[y], along[x]).ravel() for (y, x), _ in bits])
    return hash_weights(planes, [time for _, time in bits])
