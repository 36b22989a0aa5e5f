from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.pretext.audio_masked_spectrogram import AudioMaskedSpectrogram
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.sound import log_mel
from unlabeled.pipeline.transforms import mask_generator, random_mask, unpack_mask

from tests import samples


def rows(
    task: AudioMaskedSpectrogram, seed: int = 0, seconds: float = 20.0, source_rate_hz: int = 16000
) -> list[dict[str, Any]]:
    item = dataclasses.replace(samples.waveform_item(seed, seconds=seconds), source_sample_rate_hz=source_rate_hz)
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "audio_masked_spectrogram", "a"))]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(1, 25), source_rate_hz=st.sampled_from([8000, 16000, 44100]))
def test_the_bits_hide_the_stated_number_of_real_patches_and_nothing_else(
    seed: int, seconds: float, source_rate_hz: int
) -> None:
    for row in rows(AudioMaskedSpectrogram(), seed, seconds, source_rate_hz):
        hidden = unpack_mask(row["mask_bits"], (row["grid_t"], row["grid_f"]))
        real_t, real_f = row["num_frames_valid"] // 16, row["num_mels_valid"] // 16
        assert hidden.sum() == row["num_masked"] == round(0.8 * real_t * real_f)
        assert not hidden[real_t:].any()
        assert not hidden[:, real_f:].any()


def test_the_real_frames_are_those_of_the_front_end() -> None:
    for row in rows(AudioMaskedSpectrogram(), seconds=4.2):
        assert log_mel(row["audio"], 16000).shape == (row["num_frames_valid"], row["n_mels"])


def test_a_long_clip_fills_the_grid_of_64_by_8_patches() -> None:
    row = rows(AudioMaskedSpectrogram(), seconds=11)[0]
    assert (row["num_frames_valid"], row["grid_t"], row["grid_f"], row["num_masked"]) == (1024, 64, 8, 410)


def test_what_lies_above_an_8_khz_source_is_never_hidden() -> None:
    row = rows(AudioMaskedSpectrogram(), source_rate_hz=8000)[0]
    assert row["num_mels_valid"] < 128 * 0.8
    assert not unpack_mask(row["mask_bits"], (64, 8))[:, 6:].any()


def test_a_trainer_redraws_the_stored_mask_and_others() -> None:
    row = rows(AudioMaskedSpectrogram(), seconds=11)[0]
    stored = unpack_mask(row["mask_bits"], (64, 8))
    masks = [random_mask(mask_generator(row["mask_seed"], epoch), (64, 8), row["num_masked"]) for epoch in range(2)]
    assert np.array_equal(masks[0], stored)
    assert not np.array_equal(masks[1], stored)


def test_clips_of_a_long_recording_are_capped_spread_and_disjoint() -> None:
    made = rows(AudioMaskedSpectrogram(max_examples=4), seconds=90)
    starts = sorted(row["start"] for row in made)
    assert len(made) == 4
    assert min(np.diff(starts)) >= 164080
    assert starts[-1] > 60 * 16000


@pytest.mark.parametrize(("seconds", "reason"), [(0.9, "too_short"), (2.0, "low_rate")])
def test_recordings_without_real_patches_are_filtered(seconds: float, reason: str) -> None:
    with pytest.raises(Filtered, match=reason):
        rows(AudioMaskedSpectrogram(), seconds=seconds, source_rate_hz=300)


@pytest.mark.parametrize("change", [{"frames": 1000}, {"n_mels": 100}, {"min_frames": 31}, {"min_frames": 1025}])
def test_settings_that_do_not_tile_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        AudioMaskedSpectrogram(**change)


def test_rederive_redraws_the_mask_only_where_the_source_holds_the_sound() -> None:
    task = AudioMaskedSpectrogram()
    for row in rows(task):
        stored = row | {"audio": decode_flac(encode_flac(row["audio"], 16000))}
        again = task.rederive(stored, samples.waveform_item(0))
        assert {name: row[name] for name in again} == again
        assert task.rederive(stored, samples.waveform_item(1))["mask_bits"] == b""
        assert task.rederive(stored, samples.waveform_item(0, seconds=0.01))["mask_bits"] == b""


def test_the_estimate_is_near_the_size_of_what_is_stored() -> None:
    stored = sum(len(encode_flac(row["audio"], 16000)) for row in rows(AudioMaskedSpectrogram()))
    assert 0.5 < AudioMaskedSpectrogram().estimate_num_bytes(2 * 20 * 16000) / stored < 2
