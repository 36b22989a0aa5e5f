from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.pretext.audio_same_clip import AudioSameClip
from unlabeled.pipeline.rng import ItemRng

from tests import samples


def rows(task: AudioSameClip, seed: int = 0, seconds: float = 20.0) -> list[dict[str, Any]]:
    item = samples.waveform_item(seed, seconds=seconds)
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "audio_same_clip", "a"))]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(2.2, 40))
def test_segments_never_overlap_and_lie_in_one_stretch(seed: int, seconds: float) -> None:
    for row in rows(AudioSameClip(), seed, seconds):
        early, late = sorted((row["start_a"], row["start_b"]))
        assert late - (early + 15360) == row["gap_samples"] >= 320
        assert late + 15360 - early <= 160000
        assert early >= 1600
        assert late + 15360 <= int(seconds * 16000) - 1600


def test_each_segment_is_levelled_on_its_own() -> None:
    made = [row for seed in range(4) for row in rows(AudioSameClip(), seed)]
    levels = [[10 * np.log10(np.mean(row[name] ** 2)) for name in ("clip_a", "clip_b")] for row in made]
    difference = np.diff(levels, axis=1).ravel()
    assert difference.std() > 2
    assert any(row["eq_db_a"] != row["eq_db_b"] for row in made)


def test_each_segment_has_noise_of_its_own_unless_it_is_not_wanted() -> None:
    made = rows(AudioSameClip())
    assert all(10 <= row[name] <= 30 for row in made for name in ("snr_db_a", "snr_db_b"))
    assert any(row["snr_db_a"] != row["snr_db_b"] for row in made)
    assert "snr_db_a" in AudioSameClip().features().names
    assert "snr_db_a" not in AudioSameClip(least_snr_db=0).features().names
    assert "snr_db_a" not in rows(AudioSameClip(least_snr_db=0))[0]


def test_examples_are_capped_and_reach_over_a_long_recording() -> None:
    made = rows(AudioSameClip(max_examples=5), seconds=200)
    assert len(made) == 5
    assert {int(row["start_a"] / 16000 // 67) for row in made} == {0, 1, 2}


def test_a_recording_without_room_for_two_segments_is_too_short() -> None:
    assert len(rows(AudioSameClip(), seconds=2.15)) == 1
    with pytest.raises(Filtered, match="too_short"):
        rows(AudioSameClip(), seconds=2.1)


def test_a_stretch_below_two_segments_is_refused() -> None:
    with pytest.raises(ConfigError, match="window_seconds"):
        AudioSameClip(window_seconds=1.9)


def test_examples_of_one_recording_are_kept_apart() -> None:
    assert AudioSameClip().batching == "apart"


@pytest.mark.parametrize("least_snr_db", [0.0, 10.0])
def test_rederive_finds_both_segments_in_the_sound_as_stored(least_snr_db: float) -> None:
    task, item = AudioSameClip(least_snr_db=least_snr_db), samples.waveform_item(0)
    for row in rows(task):
        stored = row | {name: decode_flac(encode_flac(row[name], 16000)) for name in ("clip_a", "clip_b")}
        assert task.rederive(stored, item) == {"relation": "same_recording", "gap_samples": row["gap_samples"]}
        assert task.rederive(stored, samples.waveform_item(1))["relation"] == ""


def test_the_estimate_is_near_the_size_of_what_is_stored() -> None:
    stored = sum(len(encode_flac(row[name], 16000)) for row in rows(AudioSameClip()) for name in ("clip_a", "clip_b"))
    assert 0.5 < AudioSameClip().estimate_num_bytes(2 * 20 * 16000) / stored < 2
