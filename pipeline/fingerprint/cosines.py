"""Cosines over intervals: how a fingerprint is read as if only a part of it were there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cosines(
    start: NDArray[np.float64], share: NDArray[np.float64], num_samples: int, num_frequencies: int
) -> NDArray[np.float32]:
    """Return cosines over the intervals [start, start + share) of [0, 1), integrated over each of the samples.

    A product with samples gives the intervals' cosine transform as if they had been cut out: nothing is resampled.

    Returns:
        float32 [num_intervals, num_frequencies, num_samples].
    """
    edges = np.arange(num_samples + 1) / num_samples
    place = np.clip((edges - start[:, None]) / share[:, None], 0, 1)[:, None]
    order = np.arange(num_frequencies)[None, :, None]
    integral = np.where(order == 0, place, np.sin(np.pi * order * place) / (np.pi * np.maximum(order, 1)))
    return np.diff(integral, axis=-1).astype(np.float32)
