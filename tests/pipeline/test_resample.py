from __future__ import annotations

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, Resizer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from unlabeled.pipeline import resample
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


def weights(size: int, new_size: int) -> NDArray[np.float64]:
    """The bicubic filter as a matrix [new_size, size], from its definition (Keys 1981, a = -0.5; antialiased)."""
    scale = size / new_size
    stretch = max(scale, 1.0)
    centers = (np.arange(new_size)[:, None] + 0.5) * scale
    distance = np.abs((np.arange(size)[None] + 0.5 - centers) / stretch)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    values = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return values / values.sum(axis=1, keepdims=True)


def exact(pixels: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.float64]:
    """Rows, then columns, in double precision, clipped to [0, 255] after each."""
    rows = np.einsum("ij,yjc->yic", weights(pixels.shape[1], width_px), pixels.astype(float)).clip(0, 255)
    return np.einsum("ij,jxc->ixc", weights(pixels.shape[0], height_px), rows).clip(0, 255)


@pytest.mark.parametrize("size", [(224, 224), (40, 300), (700, 500), (3, 1), (1, 7), (479, 361)])
@pytest.mark.parametrize("kind", ["photograph", "noise", "black and white"])
def test_it_is_within_a_level_of_exact_arithmetic_and_of_pillow(size: tuple[int, int], kind: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (360, 480, 3), np.uint8)
    hard = (noise > 127).astype(np.uint8) * 255
    pixels = {"photograph": photograph(), "noise": noise, "black and white": hard}[kind]
    found = crop_resize(pixels, (0, 0, 480, 360), *size).astype(int)
    pillow = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found - exact(pixels, *size).round()).max() <= 1
    assert (np.abs(found - pillow) > 1).mean() < 1e-4


def test_a_processor_without_vector_instructions_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    here = crop_resize(photograph(), (0, 0, 480, 360), 224, 224)
    plain = Resizer()
    plain.cpu_extensions = CpuExtensions.none
    monkeypatch.setattr(resample, "Resizer", lambda: plain)
    assert np.array_equal(crop_resize(photograph(), (0, 0, 480, 360), 224, 224), here)


@given(st.tuples(*[st.integers(1, 300)] * 4), st.integers(0, 255))
def test_a_flat_picture_stays_flat_at_every_size(sizes: tuple[int, int, int, int], level: int) -> None:
    width, height, *new_size = sizes
    pixels = np.full((height, width, 3), level, np.uint8)
    assert (crop_resize(pixels, (0, 0, width, height), *new_size) == level).all()


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
