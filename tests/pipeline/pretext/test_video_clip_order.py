from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_clip_order import VideoClipOrder, change_colours

from tests import samples

TASK = VideoClipOrder(clip_frames=4, max_windows=3)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([24, 25, 30, 60]), st.integers(2, 4))
def test_the_permutation_inverts_to_the_order_of_time(seed: int, fps: int, num_clips: int) -> None:
    task = replace(TASK, num_clips=num_clips)
    _, examples = samples.video_examples(task, seed, info=samples.video_info(8, fps))
    for example in examples:
        shown = np.array(example.values["pts_us"])
        in_time = shown[np.argsort(example.values["permutation"])]
        assert np.all(np.diff(in_time.ravel()) > 0)
        assert tuple(example.values["permutation"]) == task.permutations[example.values["label"]]
        assert example.values["num_seams"] == 0


def test_the_classes_are_all_permutations() -> None:
    assert set(TASK.permutations) == set(permutations(range(3)))
    assert TASK.features()["label"].classes[5] == "2-1-0"


def test_clips_are_at_least_eight_frames_apart() -> None:
    _, examples = samples.video_examples(TASK, info=samples.video_info(10, 25))
    assert all(example.values["gap_us"] == 9 * 40_000 for example in examples)


def test_every_clip_has_its_own_colours_and_its_frames_share_them() -> None:
    _, examples = samples.video_examples(TASK)
    values = examples[0].values
    assert len({tuple(factors) for factors in values["colour_factors"]}) == 3
    plain = replace(TASK, jitter_fraction=0.0)
    _, untouched = samples.video_examples(plain)
    for clip, before, factors in zip(
        values["clips"], untouched[0].values["clips"], values["colour_factors"], strict=True
    ):
        assert np.array_equal(np.stack(clip), change_colours(np.stack(before), *factors))


def test_factors_of_one_change_nothing() -> None:
    pixels = samples.photograph()[None]
    assert np.array_equal(change_colours(pixels, 1, 1, 1), pixels)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [((0.5, 1, 1), [20, 40, 60]), ((1, 1, 0), [72, 72, 72]), ((1, 0.5, 1), [56, 76, 96])],
)
def test_colours_change_by_brightness_contrast_and_saturation(
    factors: tuple[float, float, float], expected: list[int]
) -> None:
    pixels = np.full((1, 2, 2, 3), (40, 80, 120), np.uint8)
    found = change_colours(pixels, *factors)[0, 0, 0].tolist()
    assert found == pytest.approx(expected, abs=1)


def cut_in_the_gap(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    frame = samples.video_frame(info, pts_us, seed, request)
    return frame if pts_us < 1_000_000 else 255 - frame


def test_clips_of_different_shots_are_not_used() -> None:
    # 28 frames: clips at 0 to 3, 12 to 15 and 24 to 27; the cut is at 25.
    info = samples.video_info(28 / 25)
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=info, paint=cut_in_the_gap)
    assert caught.value.reason == "cuts"


def test_a_wrong_order_is_found_by_the_pixels_alone() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item)["permutation"] == row["permutation"]
    swapped = row | {name: row[name][::-1] for name in ("clips", "colour_factors")}
    assert TASK.rederive(swapped, item)["permutation"] == row["permutation"][::-1]
