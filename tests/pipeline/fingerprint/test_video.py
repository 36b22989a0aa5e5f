from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.fingerprint import video

from tests.media_files import video_file

NUM_FRAMES = 50
WIDTH_PX, HEIGHT_PX = 96, 64
Frames = Sequence[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence() as opened:
        yield opened


def scene(seed: int) -> list[NDArray[np.uint8]]:
    """Return a still background over which three discs wander, each with its own pauses and turns."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(40, 215, (4, 6, 3), dtype=np.uint8))
    background = np.asarray(ground.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC))
    walks = np.cumsum(np.repeat(rng.normal(0, 2.5, (3, 10, 2)), NUM_FRAMES // 10, axis=1), axis=1)
    starts, colors = rng.uniform((16, 16), (48, 80), (3, 2)), rng.integers(0, 256, (3, 3))
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    frames = []
    for number in range(NUM_FRAMES):
        pixels = background.copy()
        for walk, start, color in zip(walks, starts, colors, strict=True):
            at = start + walk[number]
            pixels[(y - at[0]) ** 2 + (x - at[1]) ** 2 < 14**2] = color
        frames.append(pixels)
    return frames


def copy_of(frames: Frames, seed: int) -> bytes:
    """Return a video of another codec, scaled by 0.5 to 2, cut by up to 10 %, up to 2 % faster or slower."""
    rng = np.random.default_rng([seed, 1])
    num_cut = int(rng.uniform(0, 0.1) * len(frames))
    first = int(rng.integers(0, num_cut + 1))
    kept = frames[first : len(frames) - num_cut + first]
    factor = 2 ** rng.uniform(-1, 1)
    size = tuple(2 * round(side * factor / 2) for side in (WIDTH_PX, HEIGHT_PX))
    scaled = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in kept]
    step_ms = 40 / rng.uniform(0.98, 1.02)
    options = {"preset": "ultrafast", "crf": str(rng.integers(20, 34)), "threads": "1"}
    return video_file("mkv", scaled, times_ms=[round(step_ms * n) for n in range(len(kept))], codec_options=options)


def taken(fence: Fence, data: bytes) -> bytes:
    opened = fence.video(data)
    (clip,) = opened.clips([video.request(opened.info)])
    found = video.fingerprint(opened.info, clip)
    assert found is not None
    assert len(found) == video.NUM_BYTES
    return found


def pairs_of(data: list[bytes]) -> set[tuple[int, ...]]:
    return {tuple(sorted(pair)) for pair in video.copies(data).tolist()}


@pytest.mark.parametrize("num", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_every_copy_meets_its_original_and_nothing_else(fence: Fence, num: int) -> None:
    scenes = [scene(seed) for seed in range(num)]
    files = [video_file("mp4", frames) for frames in scenes]
    files += [copy_of(frames, seed) for seed, frames in enumerate(scenes)]
    assert pairs_of([taken(fence, data) for data in files]) == {(seed, num + seed) for seed in range(num)}


def test_the_same_scene_with_other_movements_is_no_copy(fence: Fence) -> None:
    frames = scene(3)
    assert not pairs_of([taken(fence, video_file("mp4", shown)) for shown in (frames, frames[::-1])])


def test_still_videos_are_told_by_their_picture(fence: Fence) -> None:
    shown = [[scene(seed)[0]] * 25 for seed in (1, 2)]
    files = [video_file("mp4", shown[0]), copy_of(shown[0], 5), video_file("mp4", shown[1])]
    assert pairs_of([taken(fence, data) for data in files]) == {(0, 1)}


def test_one_colour_throughout_has_no_fingerprint(fence: Fence) -> None:
    opened = fence.video(video_file("mp4", [np.full((HEIGHT_PX, WIDTH_PX, 3), 90, np.uint8)] * 10))
    (clip,) = opened.clips([video.request(opened.info)])
    assert video.fingerprint(opened.info, clip) is None
