from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import ClipRequest, VideoInfo
from unlabeled.pipeline.pretext.video_frame_pairs import VideoFramePairs

from tests import samples

TASK = VideoFramePairs(side_px=112, max_windows=3, num_spares=1)
SHORT = replace(TASK, gap_edges_us=TASK.gap_edges_us[:-2])


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([15, 24, 25, 30, 60]), st.floats(10.5, 40))
def test_the_distance_is_that_of_the_times_and_lies_in_its_bucket(seed: int, fps: int, seconds: float) -> None:
    _, examples = samples.video_examples(TASK, seed, info=samples.video_info(seconds, fps))
    for example in examples:
        values = example.values
        assert values["gap_us"] == abs(values["pts_b_us"] - values["pts_a_us"])
        assert values["order"] == np.sign(values["pts_b_us"] - values["pts_a_us"])
        low, high = TASK.gap_edges_us[values["label"] : values["label"] + 2]
        assert low <= values["gap_us"] < high


def test_every_anchor_has_a_partner_in_every_bucket() -> None:
    _, examples = samples.video_examples(TASK, info=samples.video_info(35))
    assert len(examples) == 3 * 6
    for first in range(0, len(examples), 6):
        window = [example.values for example in examples[first : first + 6]]
        assert {values["label"] for values in window} == set(range(6))
        times = [{values["pts_a_us"], values["pts_b_us"]} for values in window]
        assert len(set.intersection(*times)) == 1
        assert sum(values["order"] for values in window) == 0


@pytest.fixture(scope="module")
def anchors() -> list[list[dict[str, Any]]]:
    """The values of one anchor's pairs, for many sources."""
    task = VideoFramePairs(side_px=64, max_windows=1, num_spares=0)
    found = (samples.video_examples(task, seed, info=samples.video_info(12))[1] for seed in range(24))
    return [[dict(example.values) for example in examples] for examples in found]


def test_the_anchor_is_first_or_last_and_shown_first_or_second_equally_often(
    anchors: list[list[dict[str, Any]]],
) -> None:
    places: Counter[tuple[bool, bool]] = Counter()
    for pairs in anchors:
        (anchor,) = set.intersection(*({pair["pts_a_us"], pair["pts_b_us"]} for pair in pairs))
        for pair in pairs:
            places[(anchor == min(pair["pts_a_us"], pair["pts_b_us"]), anchor == pair["pts_a_us"])] += 1
    # Whether an anchor comes first or last is drawn once for its six pairs.
    assert len(places) == 4
    assert all(abs(count - 36) < 4.5 * np.sqrt(24 * 3 * 3 / 4) for count in places.values())


def test_orders_are_balanced_in_every_bucket(anchors: list[list[dict[str, Any]]]) -> None:
    for bucket in range(6):
        orders = [pair["order"] for pairs in anchors for pair in pairs if pair["label"] == bucket]
        assert len(orders) == 24
        assert abs(sum(orders)) < 4.5 * np.sqrt(24)


def test_a_source_shorter_than_the_longest_bucket_is_filtered() -> None:
    with pytest.raises(Filtered, match="too_short"):
        samples.video_examples(TASK, info=samples.video_info(9.9))


def test_fewer_buckets_use_shorter_sources() -> None:
    _, examples = samples.video_examples(SHORT, info=samples.video_info(1.7))
    assert {example.values["label"] for example in examples} == {0, 1, 2, 3}
    assert SHORT.features()["label"].classes == (
        "40 to 100 ms",
        "100 to 250 ms",
        "250 to 630 ms",
        "630 to 1600 ms",
    )


def test_a_frame_rate_without_the_shortest_distance_is_filtered() -> None:
    with pytest.raises(Filtered, match="low_frame_rate"):
        samples.video_examples(TASK, info=samples.video_info(20, 10))


def cut_every_2_s(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> np.ndarray:
    frame = samples.video_frame(info, pts_us, seed, request)
    return frame if pts_us // 2_000_000 % 2 else 255 - frame


def test_an_anchor_whose_window_has_a_cut_gives_no_pair_at_all() -> None:
    with pytest.raises(Filtered) as caught:
        samples.video_examples(TASK, info=samples.video_info(20), paint=cut_every_2_s)
    assert caught.value.reason == "cuts"


@pytest.mark.parametrize("edges", [(40_000, 100_000), (100_000, 40_000, 250_000), (40_000, 40_000, 100_000)])
def test_edges_must_ascend(edges: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="gap_edges_us"):
        VideoFramePairs(gap_edges_us=edges)


def test_swapped_frames_are_found() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item) == {name: row[name] for name in ("label", "order", "gap_us")}
    swapped = row | {"frame_a": row["frame_b"], "frame_b": row["frame_a"]}
    assert TASK.rederive(swapped, item)["label"] == -1
