"""What lies between the parts of an example: seams of neighbours, and what runs through frames in order."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from ..seen import Lumas, Seen, Sound
from .family import NOTHING, Cues, combined, log_ratio

#: Order of the linear prediction over a seam, from how much sound it is made, and how far it is compared.
_ORDER = 16
_FIT_SAMPLES = 512
_AHEAD_SAMPLES = 24
_MAX_PICTURES = 9
_MIN_EDGE_PX = 8


def continuity(seen: Seen) -> Cues:
    """Return how well the end of each part goes on in the beginning of each other: of pictures, clips and sounds."""
    if seen.is_timed:
        return np.concatenate([_clip_seams(seen), _sound_seams(seen)])
    pictures = NOTHING
    if 2 <= len(seen.stills) <= _MAX_PICTURES:
        seams = [
            seam
            for one, other in permutations([still.luma for still in seen.stills], 2)
            for seam in _edges(one, other)
        ]
        pictures = np.asarray(seams, np.float32)
    return np.concatenate([pictures, _sound_seams(seen)])


def _edges(one: Lumas, other: Lumas) -> list[float]:
    """Return how alike the fine detail of two facing edges is (cosine): `other` right of `one`, and below it.

    Across a gap detail is lost, while shading, which is part of the scene, goes on.
    """
    if one.shape != other.shape or min(one.shape) < _MIN_EDGE_PX:
        return [0.0, 0.0]
    told = []
    for left, right in ((one, other), (one.T, other.T)):
        # Where the two edges are next to each other, each goes on by its own slope.
        ahead, back = 1.5 * left[:, -1] - 0.5 * left[:, -2], 1.5 * right[:, 0] - 0.5 * right[:, 1]
        told.append(_likeness(np.diff(ahead, 2).astype(np.float64), np.diff(back, 2)))
    return told


def _clip_seams(seen: Seen) -> Cues:
    """Return of each ordered pair of clips how far the end of one is from the start of the other, in frame steps.

    Counted only up to two steps: nearer than that no two clips with a gap between them are by right, while which of
    two far clips is nearer is what the task asks.
    """
    if len(seen.clips) < 2 or min(seen.clips) < 2:
        return NOTHING
    edges = np.cumsum([0, *seen.clips])
    clips = [[still.luma for still in seen.stills[a:b]] for a, b in pairwise(edges.tolist())]
    step = np.median([float(np.abs(b - a).mean()) for clip in clips for a, b in pairwise(clip)])
    told = [float(np.abs(other[0] - one[-1]).mean()) / (float(step) + 0.1) for one, other in permutations(clips, 2)]
    return np.minimum(np.asarray(told, np.float32), 2.0)


def _sound_seams(seen: Seen) -> Cues:
    """Return of each pair of sounds how well linear prediction of one's end meets the other's start, and back."""
    told: list[float] = []
    for one, other in combinations(seen.sounds, 2):
        told += _seam(one, other) + _seam(other, one)
    return np.asarray(told, np.float32)


def _seam(one: Sound, other: Sound) -> list[float]:
    ahead = predicted(one.samples[-_FIT_SAMPLES:], _AHEAD_SAMPLES)
    back = predicted(other.samples[:_FIT_SAMPLES][::-1], _AHEAD_SAMPLES)
    start, end = other.samples[:_AHEAD_SAMPLES], one.samples[-_AHEAD_SAMPLES:][::-1]
    told = [_likeness(ahead, start), _likeness(back, end), _likeness(ahead[:8], start[:8])]
    scale = float(np.abs(np.diff(one.samples[-_FIT_SAMPLES:])).mean())
    return [*told, log_ratio(float(abs(other.samples[0] - one.samples[-1])), scale)] if scale else [*told, 0.0]


def predicted(samples: NDArray[np.float32], num_ahead: int) -> NDArray[np.float64]:
    """Return the next samples by linear prediction of order 16 (autocorrelation method), float64 [num_ahead]."""
    signal = samples.astype(np.float64)
    if len(signal) <= 2 * _ORDER or not signal.any():
        return np.zeros(num_ahead)
    # Least squares over the stretch itself (covariance method): exact for tones.
    columns = np.lib.stride_tricks.sliding_window_view(signal, _ORDER)[:-1]
    wanted = signal[_ORDER:]
    ridge = 1e-6 * float(np.square(signal).mean()) * len(wanted) + 1e-12
    weights = np.linalg.solve(columns.T @ columns + ridge * np.eye(_ORDER), columns.T @ wanted)
    known = list(signal[-_ORDER:])
    limit = 2 * float(np.abs(signal).max())
    for _ in range(num_ahead):
        known.append(float(np.clip(weights @ np.asarray(known[-_ORDER:]), -limit, limit)))
    return np.asarray(known[_ORDER:])


def _likeness(one: NDArray[np.float64], other: NDArray[np.float32]) -> float:
    """Return the cosine of two stretches, 0 where either is silent or they differ in length."""
    if len(one) != len(other):
        return 0.0
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0 else 0.0


def sharpness(seen: Seen) -> Cues:
    """Return the sharpness of each frame over their mean: a stream's pictures lose it from key to key frame."""
    if not seen.is_timed or len(seen.stills) < 2:
        return NOTHING
    found = np.asarray([_sharpness(still.luma) for still in seen.stills], np.float32)
    return combined((found - found.mean())[:, None])


def _sharpness(luma: Lumas) -> float:
    fine = np.abs(luma[1:-1, 1:-1] * 4 - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:])
    return log_ratio(float(fine.mean()), float(luma.std()))


def exposure(seen: Seen) -> Cues:
    """Return the mean brightness and contrast of each frame over the clip's: fades and automatic exposure."""
    if not seen.is_timed or len(seen.stills) < 2:
        return NOTHING
    found = np.asarray([[float(one.luma.mean()), float(one.luma.std())] for one in seen.stills], np.float32)
    return combined(found - found.mean(axis=0))


def repeats(seen: Seen) -> Cues:
    """Return how many frames are doubles of others, near or far, and how far the largest jump stands out."""
    if not seen.is_timed or len(seen.stills) < 3:
        return NOTHING
    small = np.stack([one.luma[::4, ::4] for one in seen.stills])
    steps = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))
    middle = float(np.median(steps)) + 1e-3
    apart = [float(np.abs(small[a] - small[b]).mean()) for a, b in combinations(range(len(small)), 2) if b - a > 1]
    doubles = [float((steps < 0.15 * middle).mean()), float((np.asarray(apart) < 0.15 * middle).mean())]
    stored = len({one.data for one in seen.stills}) / len(seen.stills)
    return np.asarray([*doubles, stored, log_ratio(float(steps.max()), middle)], np.float32)
