from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_future_frames import VideoFutureFrames

from tests import samples

TASK = VideoFutureFrames(block_frames=2, max_windows=3)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([10, 24, 25, 30, 60]), st.integers(1, 4), st.integers(1, 3))
def test_targets_follow_the_context_at_their_horizons(seed: int, fps: int, context: int, target: int) -> None:
    task = VideoFutureFrames(context_blocks=context, target_blocks=target, block_frames=2, max_windows=3)
    _, examples = samples.video_examples(task, seed, info=samples.video_info(8, fps))
    for example in examples:
        seen, coming = example.values["context_pts_us"], example.values["target_pts_us"]
        assert (len(seen), len(coming)) == (2 * context, 2 * target)
        steps = np.diff(seen + coming)
        assert steps.max() - steps.min() <= 2
        assert abs(steps[0] - 100_000) <= 0.5 * 1e6 / fps
        assert [seen[-1] + horizon for horizon in example.values["horizon_us"]] == coming[::2]


def test_copying_the_last_frame_is_not_the_answer() -> None:
    _, examples = samples.video_examples(TASK)
    for example in examples:
        last = example.values["context_frames"][-1].astype(int)
        assert all(np.abs(frame - last).max() > 50 for frame in example.values["target_frames"])


def still(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return samples.video_frame(info, 0, seed, request)


def test_a_still_scene_is_filtered() -> None:
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, paint=still)
    assert caught.value.reason == "static"


def test_defaults_are_five_blocks_and_three_of_five_frames() -> None:
    features = VideoFutureFrames().features()
    assert features["context_frames"].shape == (25,)
    assert features["target_frames"].shape == (15,)
    assert features["target_frames"].role == "label"


def test_targets_of_another_time_are_found() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item) == {"horizon_us": row["horizon_us"]}
    assert TASK.rederive(row | {"target_frames": row["target_frames"][::-1]}, item) == {"horizon_us": []}
