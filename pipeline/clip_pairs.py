"""What the tasks on two clips of sound share: where clips may lie, what is done to them, which columns tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ConfigError, Filtered
from .features import Feature, audio, value
from .items import Waveform
from .sound import EQ_POINTS_HZ, Conditioning, Samples, is_same_sound, is_usable, rms_dbfs
from .task import PretextTask, setting

#: How often a place is drawn anew where a clip is silent or clipped.
NUM_TRIES = 16
#: Signal-to-noise ratios are uniform over so many dB.
SNR_SPREAD_DB = 20.0


@dataclass(frozen=True)
class ClipPairTask(PretextTask[Waveform]):
    """Base of tasks whose examples are two clips of sound, each conditioned at random on its own."""

    sample_rate_hz: int = setting(16000, "rate of the decoded sound", unit="hz", at_least=4000, at_most=48000)
    clip_seconds: float = setting(0.96, "length of a clip", unit="s", at_least=0.02, at_most=10)
    trim_seconds: float = setting(0.1, "never used at either end of a recording", unit="s", at_least=0, at_most=10)
    level_dbfs: float = setting(-26.0, "mean level of a stored clip", unit="dBFS", at_least=-60, at_most=-6)
    level_spread_db: float = setting(
        6.0, "a level is uniform in level_dbfs +- this", unit="dB", at_least=0, at_most=20
    )
    eq_db: float = setting(6.0, "gains, octave by octave, are uniform in +- this", unit="dB", at_least=0, at_most=20)
    least_snr_db: float = setting(
        0.0,
        "each clip gets white noise, between this and 20 dB more below it; 0: none",
        unit="dB",
        at_least=0,
        at_most=60,
    )
    min_level_dbfs: float = setting(-60.0, "quieter clips are not used", unit="dBFS", at_least=-120, at_most=0)
    max_clipped_fraction: float = setting(0.05, "clips with more clipped samples are not used", at_least=0, at_most=1)

    @property
    def clip_samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.clip_seconds * self.sample_rate_hz)

    def usable_range(self, item: Waveform, min_samples: int) -> tuple[int, int]:
        """Return the first sample that clips may use and the number of samples from there on.

        Raises:
            Filtered: `too_short`, where that number is below `min_samples`.
            ConfigError: the sound has another rate than `sample_rate_hz`.
        """
        trim = round(self.trim_seconds * self.sample_rate_hz)
        room = usable_samples(item, self.sample_rate_hz) - 2 * trim
        if room < min_samples:
            found, needed = room / self.sample_rate_hz, min_samples / self.sample_rate_hz
            raise Filtered("too_short", f"{found:.2f} s between the trimmed ends < {needed:.2f} s")
        return trim, room

    def is_usable(self, item: Waveform, *starts: int) -> bool:
        """Return whether the clips that begin at `starts` are all loud enough and hardly clipped."""
        clips = (item.clip(start, self.clip_samples) for start in starts)
        return all(is_usable(clip, self.min_level_dbfs, self.max_clipped_fraction) for clip in clips)

    def pair_features(self) -> dict[str, Feature]:
        """Return the columns of `pair_values`."""
        at = "counted at sample_rate_hz from where the item begins"
        columns = {
            "clip_a": audio("the first clip", sample_rate_hz=self.sample_rate_hz),
            "clip_b": audio("the second clip", sample_rate_hz=self.sample_rate_hz),
            "sample_rate_hz": value("int32", "parameter", "rate of both clips", unit="hz"),
            "num_samples": value("int32", "parameter", "length of each clip", unit="samples"),
            "start_a": value("int64", "parameter", f"first sample of clip_a, {at}", unit="samples"),
            "start_b": value("int64", "parameter", f"first sample of clip_b in its recording, {at}", unit="samples"),
        }
        for side in "ab":
            columns[f"rms_dbfs_{side}"] = value("float32", "parameter", "level in the recording", unit="dBFS")
            columns[f"level_dbfs_{side}"] = value("float32", "parameter", "level that was asked for", unit="dBFS")
            columns[f"eq_db_{side}"] = value(
                "float32", "parameter", "gains at 125 hz to 8000 hz, by octaves", shape=(len(EQ_POINTS_HZ),), unit="dB"
            )
            if self.least_snr_db:
                columns[f"snr_db_{side}"] = value("float32", "parameter", "white noise stands so far below", unit="dB")
        return columns

    def pair_values(
        self, clips: tuple[Samples, Samples], starts: tuple[int, int], generator: np.random.Generator
    ) -> dict[str, Any]:
        """Return both clips conditioned, and how; `clips` are as they stand in their recordings."""
        values: dict[str, Any] = {"sample_rate_hz": self.sample_rate_hz, "num_samples": self.clip_samples}
        snr_db = (self.least_snr_db, self.least_snr_db + SNR_SPREAD_DB) if self.least_snr_db else None
        for side, clip, start in zip("ab", clips, starts, strict=True):
            condition = Conditioning.draw(generator, self.level_dbfs, self.level_spread_db, self.eq_db, snr_db)
            values[f"clip_{side}"] = condition(clip, self.sample_rate_hz)
            values[f"start_{side}"] = start
            values[f"rms_dbfs_{side}"] = rms_dbfs(clip)
            values[f"level_dbfs_{side}"] = condition.level_dbfs
            values[f"eq_db_{side}"] = condition.eq_db
            if condition.snr_db is not None:
                values[f"snr_db_{side}"] = condition.snr_db
        return values

    def own_pair(self, item: Waveform, starts: tuple[int, int], generator: np.random.Generator) -> dict[str, Any]:
        """Return `pair_values` of two clips of one recording."""
        clip_a, clip_b = (item.clip(start, self.clip_samples) for start in starts)
        return self.pair_values((clip_a, clip_b), starts, generator)


def usable_samples(item: Waveform, sample_rate_hz: int) -> int:
    """Return the number of samples of `item`.

    Raises ConfigError where it has another rate than `sample_rate_hz`.
    """
    if item.sample_rate_hz != sample_rate_hz:
        raise ConfigError(f"`sample_rate_hz` is {sample_rate_hz}, but the sound was decoded to {item.sample_rate_hz}.")
    return len(item.samples)


def stands_in(item: Waveform, row: Mapping[str, Any], side: str) -> bool:
    """Return whether a stored row's clip (`side` a or b) is the item's sound at the place that the row gives."""
    clip, start = row[f"clip_{side}"], row[f"start_{side}"]
    if start < 0 or start + len(clip) > len(item.samples):
        return False
    condition = Conditioning(row[f"level_dbfs_{side}"], tuple(row[f"eq_db_{side}"]), row.get(f"snr_db_{side}"))
    return is_same_sound(condition(item.clip(start, len(clip)), item.sample_rate_hz), clip)


def gap_between(row: Mapping[str, Any]) -> int:
    """Return the samples between the end of the earlier clip of a stored row and the start of the later one."""
    return int(abs(row["start_b"] - row["start_a"]) - row["num_samples"])
