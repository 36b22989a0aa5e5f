"""Small labelled pictures whose class can be seen: where a bright bar stands."""

from __future__ import annotations

import numpy as np
from unlabeled.trainers.labelled import Labelled

CLASSES = ("top", "bottom", "left")


def bars(num: int, seed: int, side_px: int = 16) -> Labelled:
    """Return `num` noisy pictures, classes in turn."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    media = rng.integers(0, 90, (num, side_px, side_px, 3), np.uint8)
    labels = np.arange(num) % len(CLASSES)
    third = side_px // 3
    media[labels == 0, :third] += 120
    media[labels == 1, -third:] += 120
    media[labels == 2, :, :third] += 120
    return Labelled("image", media, labels, CLASSES, f"bars {num} {seed}")
