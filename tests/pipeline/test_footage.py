from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.footage import ClipPlan
from unlabeled.pipeline.items import ClipRequest, Video, VideoInfo
from unlabeled.pipeline.rng import ItemRng

from tests import samples

PLAN = ClipPlan(range(16), 66_667, 112, 0.7, max_windows=4, num_spares=2, min_motion=0.3)
RNG = ItemRng(seed=0, task="t", source_key="s")


def item_of(info: VideoInfo, paint: samples.Paint = samples.video_frame, plan: ClipPlan = PLAN) -> Video:
    clips = samples.answer(info, plan.requests(info, RNG), paint=paint)
    return Video(media_kind="video", codec="h264", info=info, clips=clips)


def still(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, 0, seed, request)


def still_at_first(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, max(0, pts_us - 10_000_000), seed, request)


@settings(deadline=None, max_examples=40)
@given(st.floats(1.6, 400), st.sampled_from([15, 24, 25, 30, 60]), st.integers(0, 99))
def test_every_request_lies_within_the_video(seconds: float, fps: int, key: int) -> None:
    info = samples.video_info(seconds, fps)
    requests = PLAN.requests(info, ItemRng(seed=0, task="t", source_key=str(key)))
    assert 1 <= len(requests) <= 6
    for request in requests:
        assert info.start_us <= request.targets_us[0]
        assert request.targets_us[-1] <= info.end_us
        assert np.diff(request.targets_us).min() > 0


def test_requests_of_a_part_lie_within_the_part() -> None:
    part = replace(samples.video_info(60), start_us=20_000_000, end_us=30_000_000)
    targets = [target for request in PLAN.requests(part, RNG) for target in request.targets_us]
    assert min(targets) >= 20_000_000
    assert max(targets) <= 30_000_000


def test_good_windows_are_cut_out_and_measured() -> None:
    item = item_of(samples.video_info(20))
    shots = PLAN.good_shots(item)
    assert len(shots) == 4
    for shot in shots:
        assert shot.pixels.shape == (16, 112, 112, 3)
        assert shot.stride == 2
        assert shot.motion_score >= 0.3
        assert shot.crop_box[2:] == (168, 168)


def test_spares_stand_in_for_static_windows_in_keyed_order() -> None:
    item = item_of(samples.video_info(20), still_at_first)
    moving = [clip for clip in item.clips if clip.pts_us[0] > 10_000_000]
    assert [shot.clip.pts_us[0] for shot in PLAN.good_shots(item)] == [clip.pts_us[0] for clip in moving]


def test_a_static_video_is_filtered() -> None:
    with pytest.raises(Filtered) as caught:
        PLAN.good_shots(item_of(samples.video_info(20), still))
    assert caught.value.reason == "static"


def test_repeated_frames_are_filtered() -> None:
    # 25 frames are declared for every second, but 5 are there.
    info = samples.video_info(20)
    times = np.arange(100) * 200_000
    clips = samples.answer(info, PLAN.requests(info, RNG), times_us=times)
    with pytest.raises(Filtered) as caught:
        PLAN.good_shots(Video(media_kind="video", codec="h264", info=info, clips=clips))
    assert caught.value.reason == "low_frame_rate"


def test_the_clips_of_one_source_are_bounded() -> None:
    with pytest.raises(ConfigError, match="max_windows"):
        replace(PLAN, max_windows=100)


def test_the_estimate_is_capped() -> None:
    assert PLAN.estimate_windows(10**12) == 4
    assert PLAN.estimate_windows(1000) == 1
