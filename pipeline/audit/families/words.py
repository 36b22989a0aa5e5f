"""What a text betrays besides what it says: how long its segments are."""

from __future__ import annotations

import numpy as np

from ..seen import Seen
from .family import Cues, combined


def lengths(seen: Seen) -> Cues:
    """Return tokens of each segment and of padding; characters and words of strings."""
    segments = combined([[float(len(one)), float(np.log1p(len(one)))] for one in seen.segments])
    texts = combined([[float(len(one)), float(len(one.split())), float(one[:1].isupper())] for one in seen.texts])
    padding = [float(seen.length - sum(map(len, seen.segments)))] if seen.segments else []
    return np.concatenate([segments, texts, np.asarray(padding, np.float32)])
