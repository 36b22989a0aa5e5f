"""Choosing four patches of one picture, two that belong together and two others, so that pairs differ in nothing else.

Places are corners (row, column) of squares of PATCH_CELLS on a small grid of cells, int64 [num_places, 2].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A patch is this many cells wide; two patches are at least GAP_CELLS apart.
PATCH_CELLS = 8
GAP_CELLS = 1
#: Patches whose centres are nearer than this many patch sides are adjacent; from APART_SIDES they are not.
ADJACENT_SIDES = 1.75
APART_SIDES = 2.5
_MAX_GROUPS = 8
_PLACES_PER_GROUP = 16
_MAX_PAIRS = 128

Places = NDArray[np.int64]
Matrix = NDArray[np.bool_]


def places_in_segments(
    segments: NDArray[np.int32], purity: float, generator: np.random.Generator
) -> tuple[Places, NDArray[np.int64]]:
    """Return random places that lie in one segment by at least `purity` (above one half), and which segment.

    At most 16 places in each of the eight largest segments.
    """
    found: list[Places] = []
    groups: list[int] = []
    least = purity * PATCH_CELLS**2
    sizes = np.bincount(segments.ravel())
    for group in np.argsort(-sizes, kind="stable")[:_MAX_GROUPS].tolist():
        if sizes[group] < least:
            break
        inside = np.argwhere(_covered(segments == group) >= least)
        chosen = inside[generator.permutation(len(inside))[:_PLACES_PER_GROUP]]
        found.append(chosen)
        groups.extend([group] * len(chosen))
    return np.concatenate([np.zeros((0, 2), np.int64), *found]), np.array(groups, np.int64)


def places_anywhere(rows: int, columns: int, generator: np.random.Generator) -> Places:
    """Return random places on a grid of `rows` x `columns` cells, which must hold a patch."""
    last = np.array([rows - PATCH_CELLS, columns - PATCH_CELLS])
    return generator.integers(0, last + 1, (_MAX_GROUPS * _PLACES_PER_GROUP, 2))


def by_segment(places: Places, groups: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Return which pairs of places share a segment, and which do not; pairs that touch are in neither."""
    apart = _apart(places)
    same = groups[:, None] == groups
    return apart & same, apart & ~same


def by_adjacency(places: Places) -> tuple[Matrix, Matrix]:
    """Return which pairs of places are adjacent, and which are far apart; the rest are in neither."""
    distance = _distances(places) / PATCH_CELLS
    return _apart(places) & (distance < ADJACENT_SIDES), distance >= APART_SIDES


def find_quad(
    places: Places, related: Matrix, unrelated: Matrix, generator: np.random.Generator, *, is_matched: bool
) -> NDArray[np.int64] | None:
    """Return the numbers of four places a, b, c, d, int64 [4], or None where there are none.

    (a, b) and (c, d) are related; (a, c), (a, d), (b, c), (b, d) unrelated.

    Of random candidates, the four are taken whose related pairs are together most nearly as long as the crossed pairs,
    (a, d) and (c, b), so that distance does not tell them apart. `is_matched`: None where that does not succeed to
    within half a patch a pair.
    """
    pairs = np.argwhere(related)
    if len(pairs) == 0:
        return None
    pairs = pairs[generator.permutation(len(pairs))[:_MAX_PAIRS]]
    one, other = pairs.T
    fits = np.ones((len(pairs), len(pairs)), dtype=bool)
    for of_first in (one, other):
        for of_second in (one, other):
            fits &= unrelated[np.ix_(of_first, of_second)]
    if not fits.any():
        return None
    distance = _distances(places)
    own = distance[one, other]
    crossed = distance[np.ix_(one, other)]
    mismatch = np.where(fits, np.abs(own[:, None] + own - crossed - crossed.T), np.inf)
    first, second = np.unravel_index(np.argmin(mismatch), mismatch.shape)
    if is_matched and mismatch[first, second] > PATCH_CELLS:
        return None
    return np.concatenate([pairs[first], pairs[second]])


def _covered(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each place how many of its cells are inside."""
    sums = np.pad(inside.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    size = PATCH_CELLS
    covered: NDArray[np.int64] = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return covered


def _apart(places: Places) -> Matrix:
    steps = np.abs(places[:, None] - places)
    apart: Matrix = (steps >= PATCH_CELLS + GAP_CELLS).any(axis=-1)
    return apart


def _distances(places: Places) -> NDArray[np.float64]:
    steps = (places[:, None] - places).astype(np.float64)
    distances: NDArray[np.float64] = np.sqrt((steps**2).sum(axis=-1))
    return distances
