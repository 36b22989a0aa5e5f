from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Waveform
from unlabeled.pipeline.pretext.audio_clip_adjacency import AudioClipAdjacency
from unlabeled.pipeline.rng import ItemRng

from tests import samples

CLIP, FAR = 15360, 3 * 15360


def rng_of(key: str, seed: int = 0) -> ItemRng:
    return ItemRng(seed, "audio_clip_adjacency", key)


def rows(task: AudioClipAdjacency, item: Waveform, seed: int = 0) -> list[dict[str, Any]]:
    others = range(1, 1 + task.num_partners)
    partners = [task.offer(samples.waveform_item(other), rng_of(f"partner-{other}", seed)) for other in others]
    return [dict(example.values) for example in task.examples(item, rng_of("a", seed), partners)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(6.3, 40))
def test_positives_follow_within_the_gap_and_negatives_are_far(seed: int, seconds: float) -> None:
    for row in rows(AudioClipAdjacency(), samples.waveform_item(0, seconds=seconds), seed):
        after = row["start_b"] - (row["start_a"] + CLIP)
        if row["label"]:
            assert 0.02 * 16000 <= after <= 0.12 * 16000
            assert row["gap_samples"] == after
        else:
            assert abs(row["start_b"] - row["start_a"]) >= FAR


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(6.3, 40))
def test_every_clip_serves_both_labels_alike(seed: int, seconds: float) -> None:
    made = rows(AudioClipAdjacency(), samples.waveform_item(0, seconds=seconds), seed)
    for side in ("start_a", "start_b"):
        by_label = [sorted(row[side] for row in made if row["label"] == label) for label in (0, 1)]
        assert by_label[0] == by_label[1]


def test_the_ends_of_the_recording_are_never_used() -> None:
    item = samples.waveform_item(0, seconds=6.3)
    for seed in range(20):
        for row in rows(AudioClipAdjacency(), item, seed):
            for side in ("start_a", "start_b"):
                assert 1600 <= row[side] <= len(item.samples) - 1600 - CLIP


def test_examples_are_spread_over_a_long_recording_and_capped() -> None:
    made = rows(AudioClipAdjacency(max_examples=20), samples.waveform_item(0, seconds=300))
    assert len(made) == 20
    thirds = Counter(int(row["start_a"] / 16000 // 100) for row in made)
    assert set(thirds) == {0, 1, 2}


def test_levels_lie_within_the_spread_and_there_is_no_dc() -> None:
    levels = []
    for seed in range(5):
        for row in rows(AudioClipAdjacency(), samples.waveform_item(seed), seed):
            for clip in (row["clip_a"], row["clip_b"]):
                levels.append(10 * np.log10(np.mean(clip**2)))
                assert abs(clip.mean()) < 1e-4
    assert -32.1 < min(levels) < -28
    assert -24 < max(levels) < -19.9


def test_half_of_the_negatives_end_in_another_recording_where_asked() -> None:
    made = rows(AudioClipAdjacency(negatives="both"), samples.waveform_item(0))
    kinds = Counter(row["negative_kind"] for row in made)
    assert kinds["none"] == 2 * kinds["same_recording_far"] == 2 * kinds["other_recording"]
    for row in made:
        assert row["partner_key"].startswith("partner-") == (row["negative_kind"] == "other_recording")


def test_all_negatives_end_in_another_recording_where_asked() -> None:
    made = rows(AudioClipAdjacency(negatives="other_recording"), samples.waveform_item(0, seconds=3))
    assert Counter(row["negative_kind"] for row in made) == {"none": 2, "other_recording": 2}


def test_a_recording_without_partners_is_filtered() -> None:
    task = AudioClipAdjacency(negatives="both")
    with pytest.raises(Filtered, match="no_partner"):
        next(task.examples(samples.waveform_item(0), rng_of("a"), []))


@pytest.mark.parametrize(
    ("negatives", "seconds"), [("same_recording", 6.2), ("both", 4.04), ("other_recording", 2.24)]
)
def test_the_needed_length_is_what_every_kind_of_example_needs(negatives: Any, seconds: float) -> None:
    task = AudioClipAdjacency(negatives=negatives)
    for seed in range(10):
        assert rows(task, samples.waveform_item(0, seconds=seconds + 0.001), seed)
    with pytest.raises(Filtered, match="too_short"):
        rows(task, samples.waveform_item(0, seconds=seconds - 0.001))


def test_the_stated_setting_for_short_recordings_needs_38_hundredths_of_a_second() -> None:
    task = AudioClipAdjacency(clip_seconds=0.05, max_gap_seconds=0.03, trim_seconds=0.01)
    assert len(rows(task, samples.waveform_item(0, seconds=0.381))) == 4


def test_a_silent_recording_is_filtered() -> None:
    silent = samples.waveform_item(0)
    quiet = Waveform(
        media_kind="audio",
        codec="pcm_s16le",
        samples=np.zeros_like(silent.samples),
        sample_rate_hz=16000,
        source_sample_rate_hz=16000,
        num_channels=1,
    )
    with pytest.raises(Filtered, match="no_usable_clip"):
        rows(AudioClipAdjacency(), quiet)


@pytest.mark.parametrize("change", [{"far_clips": 1}, {"min_gap_seconds": 0.2}])
def test_settings_that_contradict_each_other_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        AudioClipAdjacency(**change)


def test_rederive_tells_each_kind_from_the_sound_as_stored() -> None:
    task, item = AudioClipAdjacency(negatives="both"), samples.waveform_item(0)
    for row in rows(task, item):
        stored = row | {name: decode_flac(encode_flac(row[name], 16000)) for name in ("clip_a", "clip_b")}
        again = task.rederive(stored, item)
        assert {name: row[name] for name in again} == again


def test_rederive_notices_a_wrong_label() -> None:
    task, item = AudioClipAdjacency(), samples.waveform_item(0)
    positive = next(row for row in rows(task, item) if row["label"])
    assert task.rederive(positive | {"start_b": positive["start_b"] + 5}, item)["label"] == 0
    assert task.rederive(positive, samples.waveform_item(9))["label"] == -1


def test_the_estimate_is_near_the_size_of_what_is_stored() -> None:
    task, item = AudioClipAdjacency(), samples.waveform_item(0, seconds=30)
    stored = sum(len(encode_flac(row[name], 16000)) for row in rows(task, item) for name in ("clip_a", "clip_b"))
    assert 0.5 < task.estimate_num_bytes(2 * len(item.samples)) / stored < 2


@pytest.mark.real_media
def test_the_stated_setting_uses_at_least_half_of_the_spoken_digits() -> None:
    folder = os.environ.get("UNLABELED_MEDIA")
    archives = sorted(Path(folder).rglob("spoken_digits*.tar.*")) if folder else []
    if not archives:
        pytest.skip("UNLABELED_MEDIA has no spoken_digits*.tar.*")
    task = AudioClipAdjacency(clip_seconds=0.05, max_gap_seconds=0.03, trim_seconds=0.01)
    num_used = num_files = 0
    with tarfile.open(archives[0]) as archive:
        for member in archive:
            if not member.name.endswith(".wav"):
                continue
            num_files += 1
            with contextlib.suppress(Filtered):
                num_used += bool(rows(task, digit(archive.extractfile(member))))
    assert num_files == 1000
    assert num_used >= 500


def digit(file: Any) -> Waveform:
    read, rate_hz = soundfile.read(io.BytesIO(file.read()), dtype="float32")
    resampled = soxr.resample(read, rate_hz, 16000)
    return Waveform(
        media_kind="audio",
        codec="pcm_s16le",
        samples=np.clip(np.rint(resampled * 32768), -32768, 32767).astype(np.int16),
        sample_rate_hz=16000,
        source_sample_rate_hz=rate_hz,
        num_channels=1,
    )
