"""Frames to upright sRGB."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from unlabeled.pipeline.decode.frame_pixels import ToRgb, turned, upright_turn

from tests.media_files import real_media, video_file

CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48] = (220, 30, 30)
CORNERS[:32, 48:] = (30, 220, 30)
CORNERS[32:, :48] = (30, 30, 220)
CORNERS[32:, 48:] = (220, 220, 220)


def first_frame(data: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0))


def shown(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return turned(ToRgb(frame.width, frame.height)(frame), upright_turn(frame))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_picture_is_upright(kind: str, rotation: int, is_mirrored: bool) -> None:
    found = shown(first_frame(video_file(kind, [CORNERS] * 2, rotation=rotation, is_mirrored=is_mirrored)))
    expected = np.rot90(CORNERS, rotation // 90)
    expected = expected[:, ::-1] if is_mirrored else expected
    assert found.shape == expected.shape
    for row, column in ((8, 8), (8, -8), (-8, 8), (-8, -8)):
        assert np.abs(found[row, column].astype(int) - expected[row, column]).max() < 30


def test_without_a_matrix_nothing_is_turned() -> None:
    assert upright_turn(first_frame(video_file("mp4", [CORNERS] * 2))) == (False, False, False)


def rgb(luma: float, blue: float, red: float, weights: tuple[float, float]) -> NDArray[np.float64]:
    """Return the colour of Y' in [0, 1] and Cb, Cr in [-0.5, 0.5], by the definition of the matrix."""
    kr, kb = weights
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return np.clip(np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b]), 0, 1) * 255


#: FFmpeg's numbers of BT.709, BT.601 and BT.2020, with their weights of red and blue.
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def expected_colour(frame: av.VideoFrame, weights: tuple[float, float], *, is_full_range: bool) -> NDArray[np.float64]:
    planes: Any = frame.planes
    luma, blue, red = (float(bytes(plane)[plane.line_size * 4 + 4]) for plane in planes)
    if is_full_range:
        return rgb(luma / 255, (blue - 128) / 255, (red - 128) / 255, weights)
    return rgb((luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224, weights)


def plain(height_px: int = 64) -> NDArray[np.uint8]:
    return np.full((height_px, 64, 3), (200, 60, 90), np.uint8)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("is_full_range", [False, True])
def test_colours_follow_the_stated_matrix_and_range(matrix: int, is_full_range: bool) -> None:
    frame = first_frame(video_file("mp4", [plain()] * 2, colorspace=matrix, color_range=2 if is_full_range else 1))
    assert (frame.colorspace, frame.color_range) == (matrix, 2 if is_full_range else 1)
    expected = expected_colour(frame, MATRICES[matrix], is_full_range=is_full_range)
    assert np.abs(shown(frame)[32, 32] - expected).max() < 1.5


@pytest.mark.parametrize(("height_px", "matrix"), [(718, 5), (720, 1)])
def test_where_no_matrix_is_stated_the_height_tells_it(height_px: int, matrix: int) -> None:
    frame = first_frame(video_file("mp4", [plain(height_px)] * 2))
    frame.colorspace = 2
    expected = expected_colour(frame, MATRICES[matrix], is_full_range=False)
    assert np.abs(shown(frame)[32, 32] - expected).max() < 1.5


def test_ten_bits_become_eight() -> None:
    found = shown(first_frame(video_file("mp4", [CORNERS] * 2, pix_fmt="yuv420p10le")))
    assert np.abs(found[8, 8].astype(int) - CORNERS[8, 8]).max() < 30


def test_a_frame_of_another_size_is_scaled_to_the_first() -> None:
    frame = first_frame(video_file("mp4", [CORNERS] * 2))
    assert ToRgb(48, 32)(frame).shape == (32, 48, 3)


def test_the_same_frame_gives_the_same_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    frame = first_frame(video_file("mp4", [noise] * 2))
    assert np.array_equal(shown(frame), shown(frame))


@pytest.mark.real_media
def test_a_real_reflection_is_not_taken_for_a_rotation() -> None:
    files = real_media("video/clips_mixed.tar")
    name = next(name for name in files if name.endswith("sample_rotate_and_reflect.mp4"))
    frame = first_frame(files[name])
    assert (frame.rotation, upright_turn(frame)) == (-90, (True, False, False))
