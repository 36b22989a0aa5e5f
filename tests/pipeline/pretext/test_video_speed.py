from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_speed import VideoSpeed

from tests import samples

TASK = VideoSpeed(num_frames=8, max_windows=2)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([24, 25, 30, 50, 60]), st.floats(3, 12))
def test_the_label_is_the_stride_of_the_times(seed: int, fps: int, seconds: float) -> None:
    try:
        _, examples = samples.video_examples(TASK, seed, info=samples.video_info(seconds, fps))
    except Filtered:  # some of these worlds are too short, or nothing moves in them
        reject()
    for example in examples:
        steps = np.diff(example.values["pts_us"])
        speed = TASK.speeds[example.values["label"]]
        assert example.values["speed"] == speed
        assert np.all(np.abs(steps - speed * example.values["interval_us"]) <= 5)
        assert np.all(np.round(steps * fps / 1e6) == example.values["stride"])
        assert example.values["num_seams"] == 0


def test_every_window_has_every_speed_from_the_same_first_frame() -> None:
    _, examples = samples.video_examples(TASK)
    for first in range(0, len(examples), 4):
        window = [example.values for example in examples[first : first + 4]]
        assert {values["label"] for values in window} == {0, 1, 2, 3}
        assert len({values["pts_us"][0] for values in window}) == 1
        assert all(np.array_equal(values["frames"][0], window[0]["frames"][0]) for values in window)


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
def test_speed_1_is_nearly_the_same_for_every_source(fps: int) -> None:
    _, examples = samples.video_examples(TASK, info=samples.video_info(10, fps))
    assert 33_000 <= examples[0].values["interval_us"] <= 42_000


@pytest.mark.parametrize("fps", [6, 15, 20])
def test_other_frame_rates_are_filtered(fps: int) -> None:
    with pytest.raises(Filtered, match="frame_rate"):
        samples.video_examples(TASK, info=samples.video_info(20, fps))


def test_a_source_shorter_than_the_fastest_clip_is_filtered() -> None:
    # 8 frames at speed 4 take 29 frames; at speed 1 they would fit.
    with pytest.raises(Filtered, match="too_short"):
        samples.video_examples(TASK, info=samples.video_info(1.13))
    assert len(samples.video_examples(TASK, info=samples.video_info(1.17))[1]) == 4


def from_24_hz(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, round(pts_us * 24e-6 - 0.5) * 1_000_000 // 24, seed, request)


def test_doubled_frames_are_filtered() -> None:
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=samples.video_info(10, 30), paint=from_24_hz)
    assert caught.value.reason == "duplicates"


def test_uneven_times_are_filtered() -> None:
    info = samples.video_info(10, 25)
    times = samples.frame_times(info)
    times[::2] += 15_000
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=info, times_us=times)
    assert caught.value.reason == "variable_frame_rate"


def test_speeds_other_than_the_default_have_their_own_classes() -> None:
    task = replace(TASK, speeds=(1, 2))
    assert task.features()["label"].classes == ("1x", "2x")
    assert task.bundle_size == 2


@pytest.mark.parametrize("speeds", [(1,), (2, 1), (1, 1, 2), (0, 1)])
def test_speeds_must_ascend(speeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="speeds"):
        VideoSpeed(speeds=speeds)


def test_a_wrong_speed_is_found() -> None:
    item, examples = samples.video_examples(TASK)
    slow, fast = (next(e.values for e in examples if e.values["speed"] == speed) for speed in (1, 2))
    assert TASK.rederive(slow, item) == {"label": 0, "speed": 1}
    assert TASK.rederive({**slow, "pts_us": fast["pts_us"]}, item)["label"] == -1
