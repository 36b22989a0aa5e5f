from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.resample import SquareCrop, check_box, crop_resize, square_box

from tests.samples import photograph


def test_a_crop_of_its_own_size_is_the_pixels_themselves() -> None:
    pixels = photograph()
    assert np.array_equal(crop_resize(pixels, (10, 20, 64, 48), 64, 48), pixels[20:68, 10:74])


def test_the_shape_is_height_width_channels() -> None:
    assert crop_resize(photograph(), (0, 0, 200, 100), 40, 20).shape == (20, 40, 3)


def test_the_filter_never_reads_beyond_the_box() -> None:
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[20:40, 20:40] = 200
    assert (crop_resize(pixels, (20, 20, 20, 20), 7, 7) == 200).all()


def test_the_picture_is_not_changed() -> None:
    pixels = photograph()
    pixels.flags.writeable = False
    assert crop_resize(pixels, (0, 0, 480, 360), 48, 36).shape == (36, 48, 3)


def test_a_flat_picture_stays_flat_when_enlarged() -> None:
    assert (crop_resize(np.full((8, 8, 3), 77, np.uint8), (0, 0, 8, 8), 32, 32) == 77).all()


@pytest.mark.parametrize("box", [(-1, 0, 4, 4), (0, -1, 4, 4), (0, 0, 0, 4), (0, 0, 4, 0), (7, 0, 4, 4), (0, 5, 4, 4)])
def test_a_box_outside_or_empty_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the picture of 10 x 8 px"):
        check_box(box, 10, 8)


def test_the_whole_picture_is_a_box() -> None:
    check_box((0, 0, 10, 8), 10, 8)


@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.integers(1, 512),
    st.floats(0.05, 1),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_square_box_lies_in_the_picture(
    width: int, height: int, side: int, fraction: float, position: tuple[float, float]
) -> None:
    box = square_box(width, height, side, fraction, position)
    check_box(box, width, height)
    assert box[2] == box[3]
    assert box[2] >= min(side, width, height)


def test_a_square_box_takes_its_share_of_the_short_side_from_the_middle() -> None:
    assert square_box(400, 200, 16, 0.5) == (150, 50, 100, 100)


def test_a_square_box_is_not_smaller_than_the_side() -> None:
    assert square_box(400, 200, 160, 0.5)[2] == 160


def test_a_small_picture_gives_its_whole_short_side() -> None:
    assert square_box(100, 80, 224, 0.875)[2] == 80


def test_a_square_crop_is_the_square_box_of_a_picture() -> None:
    assert SquareCrop(224, 0.875, (0.2, 0.7)).box(640, 480) == square_box(640, 480, 224, 0.875, (0.2, 0.7))
