from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_frame_order import VideoFrameOrder

from tests import samples

TASK = VideoFrameOrder(side_px=112, max_windows=4)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([6, 24, 25, 30, 60]), st.floats(4, 20))
def test_the_times_ascend_if_and_only_if_the_label_says_ordered(seed: int, fps: int, seconds: float) -> None:
    _, examples = samples.video_examples(TASK, seed, info=samples.video_info(seconds, fps))
    for example in examples:
        first, middle, last = example.values["pts_us"]
        step_us = 1_000_000 / fps
        assert abs(last - first - 2_000_000) <= step_us
        assert last - first == example.values["tau_max_us"]
        assert abs(example.values["tau_min_us"] - 500_000) <= step_us
        if example.values["label"]:
            assert first + 450_000 <= middle <= last - 450_000 + step_us
        else:
            assert middle in (first - example.values["tau_min_us"], last + example.values["tau_min_us"])


def test_both_labels_of_a_window_differ_in_the_middle_frame_alone() -> None:
    _, examples = samples.video_examples(TASK)
    for one, other in zip(examples[::2], examples[1::2], strict=True):
        assert {one.values["label"], other.values["label"]} == {0, 1}
        same = [np.array_equal(a, b) for a, b in zip(one.values["frames"], other.values["frames"], strict=True)]
        assert same == [True, False, True]


def test_shuffled_frames_come_from_before_and_from_after() -> None:
    shuffled = [
        example.values["pts_us"]
        for seed in range(12)
        for example in samples.video_examples(TASK, seed)[1]
        if not example.values["label"]
    ]
    before = sum(middle < first for first, middle, _ in shuffled)
    assert abs(before - len(shuffled) / 2) <= 1


def test_coding_types_are_those_of_the_shown_frames() -> None:
    _, examples = samples.video_examples(TASK)
    for example in examples:
        is_key = [round(time * 25e-6) % 12 == 0 for time in example.values["pts_us"]]
        assert example.values["pict_type"] == [1 if key else 2 for key in is_key]


def cut_at_middle(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    frame = samples.video_frame(info, pts_us, seed, request)
    return frame if pts_us < info.end_us / 2 else 255 - frame


def still(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, 0, seed, request)


@pytest.mark.parametrize(
    ("seconds", "paint", "reason"),
    [(2.9, samples.video_frame, "too_short"), (3.2, cut_at_middle, "cuts"), (9, still, "static")],
)
def test_windows_without_a_visible_order_are_left_out(seconds: float, paint: samples.Paint, reason: str) -> None:
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=samples.video_info(seconds), paint=paint)
    assert caught.value.reason == reason


def there_and_back(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, abs(pts_us % 3_000_000 - 1_500_000), seed, request)


def test_a_scene_that_comes_back_is_left_out() -> None:
    # 73 frames from a to e; b and d are at 0.5 s and 2.5 s and show the same: no order can be told.
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=samples.video_info(3.05, fps=24), paint=there_and_back)
    assert caught.value.reason == "duplicates"


def test_swapped_frames_are_found() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item) == {"label": row["label"]}
    assert TASK.rederive(row | {"frames": row["frames"][::-1]}, item) == {"label": -1}
