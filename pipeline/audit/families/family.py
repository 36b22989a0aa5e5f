"""What a family is, and how cues of one picture or sound become cues of an example that has several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..seen import Seen

Cues = NDArray[np.float32]
NOTHING: Cues = np.zeros(0, np.float32)
#: More numbers than this are told by their mean, trend and shape.
_MAX_LISTED = 160


@dataclass(frozen=True)
class Family:
    """Cues of one kind.

    Attributes:
        name: as verdicts name it.
        about: what it looks at, in one line.
        measure: an example's cues, float32 [num_cues], always as many for one kind of example; none where it does
            not apply.
        is_semantic: what it tells is legitimate (the sky is up): reported, and never a fault.
    """

    name: str
    about: str
    measure: Callable[[Seen], Cues]
    is_semantic: bool = False


def combined(rows: Sequence[Sequence[float]] | NDArray[Any]) -> Cues:
    """Return cues of an example from [num_parts, num_cues] of its pictures or sounds, in order.

    One: as they are. Two or three: all, and the differences of each pair. More: all where they are few, and of each
    cue over the parts: mean, trend, bend and how lopsided its steps are (a saw-tooth's are).
    """
    parts = np.asarray(rows, np.float32)
    if len(parts) == 0:
        return NOTHING
    if len(parts) == 1:
        only: Cues = parts[0]
        return only
    if len(parts) <= 3:
        differences = [parts[left] - parts[right] for left, right in combinations(range(len(parts)), 2)]
        return np.concatenate([parts.ravel(), *differences, *(np.abs(one) for one in differences)])
    told = [parts.ravel()] if parts.size <= _MAX_LISTED else []
    return np.concatenate([*told, *_shape(parts)])


def _shape(parts: Cues) -> list[Cues]:
    """Return mean, trend, bend and lopsidedness of each column of float32 [num_parts, num_cues]."""
    place = np.linspace(-1, 1, len(parts), dtype=np.float32)[:, None]
    centred = parts - parts.mean(axis=0)
    steps = np.diff(parts, axis=0)
    size = np.sqrt(np.square(steps).mean(axis=0)) + 1e-6
    bend = np.square(place) - np.square(place).mean()
    lopsided = (steps**3).mean(axis=0) / size**3
    return [parts.mean(axis=0), (centred * place).mean(axis=0), (centred * bend).mean(axis=0), lopsided]


def log_ratio(numerator: float, denominator: float) -> float:
    """Return ln of a ratio of numbers that may be 0, finite and within [-14, 14]."""
    return float(np.clip(np.log((numerator + 1e-6) / (denominator + 1e-6)), -14, 14))
