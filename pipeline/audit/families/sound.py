"""What sound betrays besides what is heard: floor, level, tilt, DC; priming, padding and fades at its ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..seen import Sound

_FRAME_SECONDS = 0.02
_SILENT_BELOW = 2 / 32768
_EDGES_SECONDS = (0.005, 0.02, 0.1)


def noise(sound: Sound) -> list[float]:
    """Return level and peak (dB), DC over the level, noise floor below the level (dB), and spectral tilt (dB)."""
    samples = sound.samples.astype(np.float64)
    level = float(np.sqrt(np.square(samples).mean())) + 1e-7
    frames = frame_levels(samples, sound.sample_rate_hz)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2 + 1e-12
    edges = np.linspace(1, len(spectrum), 5).astype(int)
    bands = [10 * float(np.log10(spectrum[a:b].mean())) for a, b in pairwise(edges.tolist())]
    return [
        20 * float(np.log10(level)),
        20 * float(np.log10(np.abs(samples).max() + 1e-7)),
        float(samples.mean()) / level,
        20 * float(np.log10(np.percentile(frames, 10) / level + 1e-5)),
        *(one - other for one, other in pairwise(bands)),
    ]


def ends(sound: Sound) -> list[float]:
    """Return silence and level at both ends over the whole, and by how much the level rises from start to end.

    Encoders begin with silence of their own (MP3 about 1,105 samples, AAC 2,112), and recordings fade.
    """
    samples = sound.samples.astype(np.float64)
    level = float(np.sqrt(np.square(samples).mean())) + 1e-7
    told: list[float] = []
    for turned in (samples, samples[::-1]):
        loud = np.flatnonzero(np.abs(turned) > _SILENT_BELOW)
        told.append(float(np.log1p(loud[0] if len(loud) else len(turned))))
        for seconds in _EDGES_SECONDS:
            edge = turned[: max(1, round(seconds * sound.sample_rate_hz))]
            told.append(float(np.log(np.sqrt(np.square(edge).mean()) / level + 1e-4)))
    frames = np.log(frame_levels(samples, sound.sample_rate_hz) / level + 1e-4)
    place = np.linspace(-1, 1, len(frames))
    return [*told, float((frames * place).mean())]


def frame_levels(samples: NDArray[np.float64], sample_rate_hz: int) -> NDArray[np.float64]:
    """Return the RMS of each whole 20 ms, float64 [num_frames], at least one."""
    size = max(1, min(len(samples), round(_FRAME_SECONDS * sample_rate_hz)))
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    levels: NDArray[np.float64] = np.sqrt(np.square(whole).mean(axis=1)) + 1e-9
    return levels
