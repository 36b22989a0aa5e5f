from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.pretext.audio_temporal_gap import AudioTemporalGap
from unlabeled.pipeline.rng import ItemRng

from tests import samples


def rows(task: AudioTemporalGap, seed: int = 0, seconds: float = 20.0) -> list[dict[str, Any]]:
    item = samples.waveform_item(seed, seconds=seconds)
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "audio_temporal_gap", "a"))]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(5.1, 30))
def test_the_label_is_the_distance_between_the_clips(seed: int, seconds: float) -> None:
    for row in rows(AudioTemporalGap(), seed, seconds):
        ends = sorted([(row["start_a"], row["start_a"] + 15360), (row["start_b"], row["start_b"] + 15360)])
        distance = ends[1][0] - ends[0][1]
        assert row["gap_samples"] == distance
        assert row["label"] == pytest.approx(distance / 16000 / 2.88)
        assert 0.02 * 16000 <= distance <= 2.88 * 16000


def test_gaps_are_spread_evenly_within_one_recording() -> None:
    labels = sorted(row["label"] for row in rows(AudioTemporalGap(), seconds=60))
    assert len(labels) == 20
    np.testing.assert_allclose(labels, (np.arange(20) + 0.5) / 20, atol=0.06)


def test_either_clip_may_be_the_earlier_one() -> None:
    earlier = [row["start_a"] < row["start_b"] for seed in range(10) for row in rows(AudioTemporalGap(), seed)]
    assert 0.3 < np.mean(earlier) < 0.7


def test_the_place_of_a_clip_does_not_follow_the_gap() -> None:
    made = [row for seed in range(40) for row in rows(AudioTemporalGap(), seed)]
    labels = [row["label"] for row in made]
    for side in ("start_a", "start_b"):
        # Four standard errors of a correlation of independent values.
        assert abs(np.corrcoef(labels, [row[side] for row in made])[0, 1]) < 4 / np.sqrt(len(made))


def test_examples_are_capped_and_reach_over_a_long_recording() -> None:
    made = rows(AudioTemporalGap(max_examples=6), seconds=200)
    assert len(made) == 6
    starts = sorted(row["start_a"] / 16000 for row in made)
    assert starts[0] < 40
    assert starts[-1] > 160


def test_a_recording_that_cannot_have_the_longest_gap_gives_nothing() -> None:
    assert rows(AudioTemporalGap(), seconds=5.01)
    with pytest.raises(Filtered, match="too_short"):
        rows(AudioTemporalGap(), seconds=4.99)


def test_gaps_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_gap_seconds"):
        AudioTemporalGap(min_gap_seconds=3)


def test_rederive_measures_the_gap_in_the_sound_as_stored() -> None:
    task, item = AudioTemporalGap(), samples.waveform_item(0)
    for row in rows(task):
        stored = row | {name: decode_flac(encode_flac(row[name], 16000)) for name in ("clip_a", "clip_b")}
        assert task.rederive(stored, item) == {"label": row["label"], "gap_samples": row["gap_samples"]}
        assert task.rederive(stored, samples.waveform_item(1))["gap_samples"] == -1


def test_the_estimate_is_near_the_size_of_what_is_stored() -> None:
    stored = sum(
        len(encode_flac(row[name], 16000)) for row in rows(AudioTemporalGap()) for name in ("clip_a", "clip_b")
    )
    assert 0.5 < AudioTemporalGap().estimate_num_bytes(2 * 20 * 16000) / stored < 2
