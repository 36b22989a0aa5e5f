from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from unlabeled.pipeline import encode
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_arrow_of_time import VideoArrowOfTime

from tests import samples

TASK = VideoArrowOfTime(num_frames=8, max_windows=3)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([24, 25, 30, 50, 60]), st.floats(3, 12))
def test_times_descend_if_and_only_if_the_label_says_backward(seed: int, fps: int, seconds: float) -> None:
    try:
        _, examples = samples.video_examples(TASK, seed, info=samples.video_info(seconds, fps))
    except Filtered:  # in some of these worlds nothing moves
        reject()
    for example in examples:
        steps = np.diff(example.values["pts_us"])
        assert np.all(steps * example.values["direction"] > 0)
        assert (example.values["direction"] == 1) == (example.values["label"] == 1)
        assert example.values["num_seams"] == 0


def test_both_labels_of_a_window_store_the_same_stills_in_reverse() -> None:
    _, examples = samples.video_examples(TASK)
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        assert {one.values["label"], other.values["label"]} == {0, 1}
        assert one.values["motion_score"] == other.values["motion_score"]
        encoded, reverse = ([encode.encode_jpeg(f) for f in of.values["frames"]] for of in (one, other))
        assert encoded == reverse[::-1]


def test_a_step_is_about_the_interval_whatever_the_frame_rate() -> None:
    for fps in (24, 25, 30, 60, 120):
        _, examples = samples.video_examples(TASK, info=samples.video_info(10, fps))
        step_us = abs(np.diff(examples[0].values["pts_us"])).mean()
        assert abs(step_us / 66_667 - 1) <= 0.25
        assert examples[0].values["stride"] == round(step_us * fps / 1e6)


def letterboxed(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    frame = samples.video_frame(info, pts_us, seed, request)
    bar = request.height_px // 8
    frame[:bar] = frame[-bar:] = 12
    return frame


def test_black_bars_are_cropped_away() -> None:
    info = samples.video_info(10, width_px=640, height_px=480)
    _, examples = samples.video_examples(TASK, info=info, paint=letterboxed)
    for frame in examples[0].values["frames"]:
        assert frame.max(axis=(1, 2)).min() > 32
    x, y, width, height = examples[0].values["crop_box"]
    assert (x, width) == (80 + (480 - width) // 2, height)
    assert y >= 60
    assert y + height <= 420


def static(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, 0, seed, request)


def fading(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return (samples.video_frame(info, pts_us, seed, request) * (1 - pts_us / info.end_us)).astype(np.uint8)


@pytest.mark.parametrize(("paint", "seconds", "reason"), [(static, 9, "static"), (fading, 1.3, "fade")])
def test_windows_that_do_not_show_the_arrow_are_left_out(paint: samples.Paint, seconds: float, reason: str) -> None:
    with pytest.raises(Filtered) as caught:
        samples.video_examples(VideoArrowOfTime(), info=samples.video_info(seconds), paint=paint)
    assert caught.value.reason == reason


def test_a_wrong_direction_is_found_by_the_pixels_alone() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item)["label"] == row["label"]
    assert TASK.rederive(row | {"frames": row["frames"][::-1]}, item)["label"] != row["label"]


def test_too_many_windows_for_memory_are_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="max_windows"):
        VideoArrowOfTime(side_px=512, max_windows=20)
