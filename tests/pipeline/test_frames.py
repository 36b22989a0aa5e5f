from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from unlabeled.pipeline import encode, frames
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import Clip, ClipRequest

from tests import samples

Frames = NDArray[np.uint8]


@cache
def picture(seed: int) -> Frames:
    return samples.photograph(seed, 400, 200)


def pan(num: int = 16, px_a_frame: int = 2, side: int = 100, seed: int = 0) -> Frames:
    """Return a view that moves over a photograph."""
    return np.stack([picture(seed)[:side, i * px_a_frame : i * px_a_frame + side] for i in range(num)])


def noise_over(still: Frames, num: int) -> Frames:
    rng = np.random.default_rng(0)
    return np.clip(still[None] + rng.normal(0, 2, (num, *still.shape)), 0, 255).astype(np.uint8)


def clip_of(pixels: Frames, pts_us: list[int] | None = None) -> Clip:
    times = pts_us or list(range(len(pixels)))
    request = ClipRequest(
        targets_us=tuple(times), crop_box=(40, 0, 200, 200), width_px=pixels.shape[2], height_px=pixels.shape[1]
    )
    types = np.ones(len(pixels), np.int8)
    return Clip(request=request, frames=pixels, pts_us=np.array(times, np.int64), pict_types=types)


@given(st.integers(1, 50), st.integers(1, 50))
def test_luma_grid_is_the_mean_of_blocks(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    grid = frames.luma_grid(pixels)
    rows, columns = grid.shape[1:]
    assert (rows, columns) == (min(20, height), min(20, width))
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    h, w = height // rows, width // columns
    block = luma[1, (rows - 1) * h : rows * h, :w]
    assert grid[1, rows - 1, 0] == pytest.approx(block.mean(), abs=0.01)


def test_noise_over_a_still_picture_is_static() -> None:
    motion = frames.measure(noise_over(samples.photograph(0, 100, 100), 8))
    assert motion.score < 0.3
    assert motion.fault(min_motion=0.5) == "static"


def test_a_moving_picture_has_no_fault() -> None:
    motion = frames.measure(pan())
    assert motion.score > 1
    assert motion.fault(min_motion=0.5) == ""


@pytest.mark.parametrize("place", [1, 8, 15])
def test_a_cut_is_found_wherever_it_is(place: int) -> None:
    joined = np.concatenate([pan(seed=0)[:place], 255 - pan(seed=5)[place:]])
    assert frames.measure(joined).fault(min_motion=0.5) == "cuts"


def test_a_doubled_frame_is_found() -> None:
    pixels = pan()
    pixels[9] = noise_over(pixels[8], 1)[0]
    motion = frames.measure(pixels)
    assert motion.double_fraction == pytest.approx(1 / 15)
    assert motion.fault(0.5, max_double_fraction=0) == "duplicates"
    assert motion.fault(0.5) == ""


def test_frames_doubled_from_24_to_30_hz_are_too_many() -> None:
    doubled = pan(32)[np.arange(32) * 4 // 5]
    assert frames.measure(doubled).fault(0.5) == "duplicates"


def test_a_fade_is_found_in_either_direction() -> None:
    levels = np.linspace(1, 0.5, 16)[:, None, None, None]
    faded = (pan() * levels).astype(np.uint8)
    assert frames.measure(faded).fault(0.1, max_double_fraction=1) == "fade"
    assert frames.measure(faded[::-1]).fault(0.1, max_double_fraction=1) == "fade"


def test_two_equal_frames_are_found_wherever_they_are() -> None:
    assert frames.all_differ(pan(5))
    assert not frames.all_differ(pan(5)[[0, 1, 2, 3, 1]])


@pytest.mark.parametrize(
    ("size", "box", "px"),
    [
        ((1920, 1080), (420, 0, 1080, 1080), 160),
        ((176, 144), (16, 0, 144, 144), 144),
        ((112, 200), (0, 44, 112, 112), 112),
    ],
)
def test_a_square_is_asked_for_larger_but_never_upscaled(
    size: tuple[int, int], box: tuple[int, int, int, int], px: int
) -> None:
    info = samples.video_info(width_px=size[0], height_px=size[1])
    assert frames.square_request(info, 112, 0.7) == (box, px)


def test_a_video_smaller_than_the_stored_side_is_filtered() -> None:
    with pytest.raises(Filtered, match="too_small"):
        frames.square_request(samples.video_info(width_px=176, height_px=144), 160, 0.7)


def barred(top: int, bottom: int, left: int, right: int) -> Frames:
    pixels = pan(4).copy()
    pixels[:, :top] = 16
    pixels[:, 100 - bottom :] = 20
    pixels[:, :, :left] = 0
    pixels[:, :, 100 - right :] = 30
    return pixels


@given(*[st.integers(0, 15)] * 4)
def test_the_inner_crop_keeps_out_of_black_bars(top: int, bottom: int, left: int, right: int) -> None:
    x, y, width, height = frames.inner_crop([clip_of(barred(top, bottom, left, right))], 64)
    assert (width, height) == (64, 64)
    assert x >= left
    assert y >= top
    assert x + width <= 100 - right
    assert y + height <= 100 - bottom


def test_bars_are_what_no_clip_lights() -> None:
    dark = clip_of(barred(30, 0, 0, 0))
    assert frames.inner_crop([dark, clip_of(pan(4))], 64) == frames.inner_crop([clip_of(pan(4))], 64)


@pytest.mark.parametrize(("pixels", "reason"), [(barred(30, 30, 0, 0), "letterbox"), (np.zeros_like(pan(2)), "black")])
def test_too_little_picture_is_filtered(pixels: Frames, reason: str) -> None:
    with pytest.raises(Filtered) as caught:
        frames.inner_crop([clip_of(pixels)], 64)
    assert caught.value.reason == reason


def test_the_crop_is_told_in_px_of_the_source() -> None:
    request = clip_of(pan(2)).request
    assert frames.source_box(request, (10, 20, 64, 64)) == (60, 40, 128, 128)


def stored(pixels: Frames) -> list[Frames]:
    return [encode.decode_still(encode.encode_jpeg(one)) for one in pixels]


def test_frames_are_found_again_by_their_times() -> None:
    clips = [clip_of(pan(4), [0, 10, 20, 30]), clip_of(pan(4, seed=3), [20, 40, 60, 80])]
    shown = frames.shown_at(clips, [40, 80], 100)
    assert shown is not None
    assert np.array_equal(shown, pan(4, seed=3)[[1, 3]])
    assert frames.shown_at(clips, [30, 40], 100) is None


def test_stored_frames_fit_what_is_shown_in_that_order_only() -> None:
    pixels = pan(6)
    assert frames.fits(stored(pixels), pixels)
    assert not frames.fits(stored(pixels[[0, 2, 1, 3, 4, 5]]), pixels)
    assert not frames.fits(stored(pixels[:5]), pixels)
    assert not frames.fits(stored(pixels), None)
    assert not frames.fits(stored(pan(1, seed=4)), pixels[:1])
