from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.clip_pairs import gap_between, stands_in
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Waveform
from unlabeled.pipeline.pretext.audio_same_clip import AudioSameClip

from tests import samples


def stored_row(item: Waveform, starts: tuple[int, int]) -> dict[str, Any]:
    """A row as it comes back from a shard: through 16-bit FLAC."""
    row = AudioSameClip().own_pair(item, starts, np.random.default_rng(0))
    return row | {name: decode_flac(encode_flac(row[name], 16000)) for name in ("clip_a", "clip_b")}


def test_a_stored_clip_is_found_where_it_stands() -> None:
    item = samples.waveform_item(1)
    row = stored_row(item, (2000, 40000))
    assert stands_in(item, row, "a")
    assert stands_in(item, row, "b")


def test_a_stored_clip_is_not_found_a_sample_later_nor_elsewhere_nor_beyond_the_end() -> None:
    item = samples.waveform_item(1)
    row = stored_row(item, (2000, 40000))
    assert not stands_in(item, row | {"start_a": 2001}, "a")
    assert not stands_in(samples.waveform_item(2), row, "a")
    assert not stands_in(item, row | {"start_a": len(item.samples) - 10}, "a")
    assert not stands_in(item, row | {"start_a": -1}, "a")


def test_the_gap_is_the_same_in_either_order() -> None:
    assert gap_between({"start_a": 0, "start_b": 150, "num_samples": 100}) == 50
    assert gap_between({"start_a": 150, "start_b": 0, "num_samples": 100}) == 50


def test_clips_stay_off_both_ends() -> None:
    first, room = AudioSameClip(trim_seconds=0.5).usable_range(samples.waveform_item(0, seconds=4), 16000)
    assert (first, room) == (8000, 48000)


def test_a_recording_below_the_needed_length_is_too_short() -> None:
    with pytest.raises(Filtered, match="too_short"):
        AudioSameClip().usable_range(samples.waveform_item(0, seconds=1), 16000)


def test_another_rate_than_the_setting_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        AudioSameClip().usable_range(samples.waveform_item(0, rate_hz=8000), 16000)


def test_the_level_in_the_recording_is_kept_as_a_parameter() -> None:
    item = samples.waveform_item(1)
    row = stored_row(item, (2000, 40000))
    assert row["rms_dbfs_a"] == pytest.approx(20 * np.log10(np.sqrt(np.mean(item.clip(2000, 15360) ** 2))), abs=0.01)
