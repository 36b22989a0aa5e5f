from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.segment import segment

from tests.samples import image_item


def test_two_halves_are_two_segments() -> None:
    picture = np.full((40, 50, 3), 60, np.uint8)
    picture[:, 25:] = (200, 90, 40)
    # The blurred border is two columns of 40 px; too small for segments of their own.
    found = segment(picture, scale=150, smallest_px=90)
    assert np.unique(found).tolist() == [0, 1]
    assert (found[:, :24] == found[0, 0]).all()
    assert (found[:, 26:] == found[0, -1]).all()


def test_a_flat_picture_is_one_segment() -> None:
    assert (segment(np.full((20, 20, 3), 128, np.uint8)) == 0).all()


def test_a_larger_scale_makes_fewer_segments() -> None:
    thumbnail = image_item(3).crop((0, 0, 480, 360), 64, 48)
    assert len(np.unique(segment(thumbnail, 600))) < len(np.unique(segment(thumbnail, 60)))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(4, 24), st.integers(4, 24))
def test_segments_are_numbered_whole_and_not_small(seed: int, smallest_px: int, height: int, width: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = segment(picture, 40, smallest_px)
    sizes = np.bincount(found.ravel())
    assert found.shape == (height, width)
    assert sizes.min() >= min(smallest_px, height * width)
    assert all(_hangs_together(found == number) for number in range(len(sizes)))


def _hangs_together(inside: np.ndarray) -> bool:
    reached = np.zeros_like(inside)
    reached.flat[np.flatnonzero(inside)[0]] = True
    while True:
        grown = np.pad(reached, 1)
        grown = (grown[1:-1, 1:-1] | grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]) & inside
        if (grown == reached).all():
            return bool((reached == inside).all())
        reached = grown
