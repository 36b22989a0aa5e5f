from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import ClipRequest, Video, VideoInfo
from unlabeled.pipeline.pretext.video_audio_correspondence import (
    Lent,
    Pairing,
    Place,
    VideoAudioCorrespondence,
)
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.sound import rms_dbfs
from unlabeled.pipeline.task import Example

from tests import samples

TASK = VideoAudioCorrespondence(side_px=112)


def item_of(task: VideoAudioCorrespondence, seed: int, **world: Any) -> tuple[Video, ItemRng]:
    rng = ItemRng(seed=0, task=task.name(), source_key=f"source-{seed}")
    return samples.video_item(task, rng, seed, **world), rng


def lent_by(task: VideoAudioCorrespondence, seed: int) -> tuple[Lent, ...]:
    return task.offer(*item_of(task, seed))


def run(
    task: VideoAudioCorrespondence = TASK, seed: int = 0, **world: Any
) -> tuple[Video, tuple[tuple[Lent, ...], ...], list[Example]]:
    item, rng = item_of(task, seed, **world)
    partners = tuple(lent_by(task, 1000 + i) for i in range(task.num_partners))
    return item, partners, list(task.examples(item, rng, partners))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(1.2, 30), st.sampled_from([10, 25, 30]))
def test_the_frame_lies_within_the_sound_of_every_positive_and_of_no_far_negative(
    seed: int, seconds: float, fps: int
) -> None:
    _, _, examples = run(seed=seed, info=samples.video_info(seconds, fps))
    for example in examples:
        since_us = example.values["frame_pts_us"] - example.values["start_us"]
        if example.values["relation"] == "same_time":
            assert 0 <= since_us <= 1_000_000
        elif example.values["relation"] == "same_video_far":
            assert not -2_000_000 < since_us < 3_000_000
        assert example.values["label"] == (example.values["relation"] == "same_time")


def test_every_frame_comes_with_its_own_sound_and_with_another() -> None:
    _, _, examples = run(info=samples.video_info(30))
    labels: dict[int, list[int]] = {}
    for example in examples:
        labels.setdefault(example.values["frame_pts_us"], []).append(example.values["label"])
    assert len(labels) == 8
    assert all(sorted(found) == [0, 1] for found in labels.values())


def test_exchanged_sounds_are_positives_elsewhere() -> None:
    task = replace(TASK, negatives="same_video")
    _, _, examples = run(task, info=samples.video_info(30))
    labels: dict[int, list[int]] = {}
    for example in examples:
        labels.setdefault(example.values["start_us"], []).append(example.values["label"])
    assert all(sorted(found) == [0, 1] for found in labels.values())
    assert task.num_partners == 0


def test_negatives_are_half_of_the_same_video() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(10):
        kinds.update(example.values["relation"] for example in run(seed=seed, info=samples.video_info(30))[2])
    assert kinds["same_time"] == kinds["same_video_far"] + kinds["other_video"]
    assert abs(kinds["same_video_far"] - kinds["other_video"]) <= 0.2 * kinds["same_time"]


def test_sounds_of_other_videos_name_their_source() -> None:
    _, partners, examples = run(replace(TASK, negatives="other_video"))
    lent = {(one.source_key, one.start_us) for offer in partners for one in offer}
    negatives = [example.values for example in examples if not example.values["label"]]
    assert negatives
    assert all((values["partner_key"], values["start_us"]) in lent for values in negatives)
    assert all(example.values["partner_key"] == "" for example in examples if example.values["label"])


def test_a_short_video_has_negatives_of_other_videos_alone() -> None:
    _, _, examples = run(info=samples.video_info(2.2))
    assert Counter(example.values["relation"] for example in examples) == {"same_time": 2, "other_video": 2}


def test_levels_are_drawn_alike_for_both_labels() -> None:
    _, _, examples = run(info=samples.video_info(30))
    for example in examples:
        values = example.values
        assert len(values["clip"]) == values["num_samples"] == 16_000
        assert -32 <= values["level_dbfs"] <= -20
        assert rms_dbfs(values["clip"]) <= values["level_dbfs"] + 0.1


def silent(item: Video) -> Video:
    return replace(item, audio=replace(item.audio, samples=np.zeros_like(item.audio.samples)))


def ends_early(item: Video) -> Video:
    return replace(item, audio=replace(item.audio, samples=item.audio.samples[:8000]))


def without(item: Video) -> Video:
    return replace(item, audio=None)


@pytest.mark.parametrize(
    ("spoiled", "reason"), [(silent, "silent"), (ends_early, "outside_sound"), (without, "no_audio")]
)
def test_videos_without_a_usable_sound_are_filtered(spoiled: Any, reason: str) -> None:
    item, rng = item_of(TASK, 0)
    for made in (
        lambda: list(TASK.examples(spoiled(item), rng, [lent_by(TASK, 9)])),
        lambda: TASK.offer(spoiled(item), rng),
    ):
        with pytest.raises(Filtered) as caught:
            made()
        assert caught.value.reason == reason


def blank(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    return np.full((request.height_px, request.width_px, 3), 90, np.uint8)


def test_blank_frames_are_filtered() -> None:
    with pytest.raises(Filtered) as caught:
        run(paint=blank)
    assert caught.value.reason == "blank"


def test_without_partners_a_video_is_filtered() -> None:
    item, rng = item_of(TASK, 0)
    with pytest.raises(Filtered, match="no_partner"):
        list(TASK.examples(item, rng, []))


def test_a_lender_lends_little() -> None:
    lent = lent_by(TASK, 0)
    assert 1 <= len(lent) <= 4
    assert sum(one.samples.nbytes for one in lent) < 1_000_000


def test_a_positive_outside_its_sound_cannot_be_made() -> None:
    place = Place(index=0, frame_pts_us=3_000_000, start=0, start_us=0)
    with pytest.raises(ValueError, match="same_time"):
        Pairing(place, place, "same_time", 1_000_000)


def test_sound_of_another_rate_is_a_wrong_setting() -> None:
    item, rng = item_of(TASK, 0)
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        TASK.offer(replace(item, audio=replace(item.audio, sample_rate_hz=8000)), rng)


def test_exchanged_sounds_must_not_overlap() -> None:
    with pytest.raises(ConfigError, match="far_us"):
        VideoAudioCorrespondence(far_us=1_500_000)


def test_labels_are_rederived_from_where_the_sound_stands() -> None:
    item, _, examples = run(info=samples.video_info(30))
    for example in examples:
        again = TASK.rederive(example.values, item)
        assert again == {name: example.values[name] for name in ("label", "relation")}
    other_frame = {**examples[0].values, "frame": 255 - examples[0].values["frame"]}
    assert TASK.rederive(other_frame, item)["label"] == -1
