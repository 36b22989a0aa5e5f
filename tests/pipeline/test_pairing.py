from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.pairing import (
    ADJACENT_SIDES,
    APART_SIDES,
    PATCH_CELLS,
    by_adjacency,
    by_segment,
    find_quad,
    places_anywhere,
    places_in_segments,
)

#: Four quarters of 40 x 56 cells, each a segment.
QUARTERS = np.kron(np.array([[0, 1], [2, 3]], np.int32), np.ones((20, 28), np.int32))


def test_places_lie_in_their_segment() -> None:
    places, groups = places_in_segments(QUARTERS, 0.75, np.random.default_rng(0))
    assert set(groups.tolist()) == {0, 1, 2, 3}
    for (top, left), group in zip(places, groups, strict=True):
        inside = QUARTERS[top : top + PATCH_CELLS, left : left + PATCH_CELLS] == group
        assert inside.shape == (PATCH_CELLS, PATCH_CELLS)
        assert inside.mean() >= 0.75


def test_segments_smaller_than_a_patch_give_no_place() -> None:
    checks = (np.indices((24, 24)).sum(axis=0) // 4 % 2).astype(np.int32)
    places, groups = places_in_segments(checks, 0.9, np.random.default_rng(0))
    assert places.shape == (0, 2)
    assert len(groups) == 0


def _distance(places: np.ndarray, one: int, other: int) -> float:
    return float(np.hypot(*(places[one] - places[other])))


def _touch(places: np.ndarray, one: int, other: int) -> bool:
    return bool((np.abs(places[one] - places[other]) <= PATCH_CELLS).all())


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_four_patches_of_two_segments_never_touch_and_are_about_as_far_apart(seed: int) -> None:
    generator = np.random.default_rng(seed)
    places, groups = places_in_segments(QUARTERS, 0.75, generator)
    quad = find_quad(places, *by_segment(places, groups), generator, is_matched=True)
    assert quad is not None
    a, b, c, d = quad.tolist()
    assert groups[a] == groups[b] != groups[c] == groups[d]
    assert not any(_touch(places, one, other) for one, other in ((a, b), (c, d), (a, d), (c, b), (a, c), (b, d)))
    own = _distance(places, a, b) + _distance(places, c, d)
    assert abs(own - _distance(places, a, d) - _distance(places, c, b)) <= PATCH_CELLS


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_adjacent_patches_are_near_and_the_others_far(seed: int) -> None:
    generator = np.random.default_rng(seed)
    places = places_anywhere(40, 56, generator)
    quad = find_quad(places, *by_adjacency(places), generator, is_matched=False)
    assert quad is not None
    a, b, c, d = quad.tolist()
    for one, other in ((a, b), (c, d)):
        assert _distance(places, one, other) < ADJACENT_SIDES * PATCH_CELLS
        assert not _touch(places, one, other)
    assert _distance(places, a, d) >= APART_SIDES * PATCH_CELLS


def test_one_segment_gives_no_four_patches() -> None:
    generator = np.random.default_rng(0)
    places, groups = places_in_segments(np.zeros((40, 40), np.int32), 0.75, generator)
    assert find_quad(places, *by_segment(places, groups), generator, is_matched=True) is None
