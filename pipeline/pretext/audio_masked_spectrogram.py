"""Reconstruct the hidden patches of a log-mel spectrogram.

Huang et al.: Masked Autoencoders that Listen (Audio-MAE), NeurIPS 2022 (arXiv:2207.06405); Gong et al.: SSAST, AAAI
2022 (arXiv:2110.09784). 1,024 frames (10.3 s) of 128 mel bins make 64 x 8 patches of 16 x 16; 80 % are hidden.

Sound is stored, not spectrograms: the trainer computes them (`unlabeled.pipeline.sound.log_mel` shows how) and redraws
the mask every epoch: `random_mask(mask_generator(mask_seed, epoch), (rows, columns), num_masked)` of
`unlabeled.pipeline.transforms`, over the patches that are real.

Shortcuts closed here: only patches made of real frames are ever hidden, since padding is free to predict; nor patches
above what the source's own rate can hold (an 8 kHz source has nothing above 4 kHz); silent stretches are not used.
Normalise by constants or by visible patches: the mean of a whole clip would tell of its hidden ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..clip_pairs import NUM_TRIES, usable_samples
from ..errors import ConfigError, Filtered
from ..features import Features, audio, value
from ..items import Waveform
from ..rng import ItemRng
from ..sound import is_same_sound, is_usable, mel_edges_hz, num_frames
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import mask_generator, pack_mask, random_mask


@dataclass(frozen=True)
class AudioMaskedSpectrogram(PretextTask[Waveform]):
    """Reconstruct the hidden patches of a log-mel spectrogram (Audio-MAE)."""

    version = "1"
    modality = Modality.AUDIO
    objective = Objective.MASKED_PREDICTION
    paper = "Huang et al.: Masked Autoencoders that Listen, NeurIPS 2022 (arXiv:2207.06405)"

    sample_rate_hz: int = setting(16000, "rate of the decoded sound", unit="hz", at_least=4000, at_most=48000)
    n_mels: int = setting(128, "mel bins from 0 hz to half the rate", at_least=8, at_most=512)
    win_ms: int = setting(25, "window of a frame", unit="ms", at_least=5, at_most=200)
    hop_ms: int = setting(10, "time between frames", unit="ms", at_least=1, at_most=100)
    frames: int = setting(1024, "frames of the grid; the longest clip", at_least=16, at_most=65536)
    min_frames: int = setting(96, "shorter recordings are not used", at_least=1)
    patch_t: int = setting(16, "frames of a patch", at_least=1, at_most=256)
    patch_f: int = setting(16, "mel bins of a patch", at_least=1, at_most=512)
    mask_ratio: float = setting(0.8, "share of the real patches that is hidden", at_least=0.05, at_most=0.95)
    max_examples: int = setting(20, "most examples of a recording, spread over it", at_least=1)
    min_level_dbfs: float = setting(-60.0, "quieter clips are not used", unit="dBFS", at_least=-120, at_most=0)
    max_clipped_fraction: float = setting(0.05, "clips with more clipped samples are not used", at_least=0, at_most=1)

    def __post_init__(self) -> None:
        """Check that patches tile the grid, and that the shortest clip has one to hide and one to show."""
        super().__post_init__()
        for name, size in (("frames", "patch_t"), ("n_mels", "patch_f")):
            if getattr(self, name) % getattr(self, size):
                raise ConfigError(f"`{name}` must be a multiple of `{size}` = {getattr(self, size)}.")
        if self.min_frames < 2 * self.patch_t or self.min_frames > self.frames:
            raise ConfigError(
                f"`min_frames` must be between {2 * self.patch_t} (two patches) and `frames` = {self.frames}, but is "
                f"{self.min_frames}."
            )

    def features(self) -> Features:
        """Return the sound, the mask over its patches, and the front end that both refer to."""
        return Features.of(
            audio=audio("the clip as it stands in the recording, unpadded", sample_rate_hz=self.sample_rate_hz),
            n_mels=value("int16", "parameter", "mel bins from 0 hz to half the rate"),
            win_ms=value("int16", "parameter", "window of a frame", unit="ms"),
            hop_ms=value("int16", "parameter", "time between frames", unit="ms"),
            patch_t=value("int16", "parameter", "frames of a patch"),
            patch_f=value("int16", "parameter", "mel bins of a patch"),
            grid_t=value("int16", "parameter", "patches in time of the padded grid"),
            grid_f=value("int16", "parameter", "patches in frequency of the grid"),
            num_frames_valid=value("int32", "parameter", "real frames; what follows in the grid is padding"),
            num_mels_valid=value("int16", "parameter", "mel bins below half the source's own rate"),
            mask_bits=value(
                "binary", "parameter", "hidden patches [grid_t, grid_f]; row-major, LSB first, 1 = hidden"
            ),
            mask_seed=value("int64", "parameter", "redraws the mask: transforms.mask_generator(mask_seed, epoch)"),
            mask_ratio=value("float32", "parameter", "share of the real patches that is hidden, as set"),
            num_masked=value("int32", "parameter", "hidden patches"),
            start=value("int64", "parameter", "first sample, counted at sample_rate_hz", unit="samples"),
            sample_rate_hz=value("int32", "parameter", "rate of the clip", unit="hz"),
        )

    def examples(self, item: Waveform, rng: ItemRng) -> Iterator[Example]:
        """Yield clips in keyed order, spread over the recording without overlap.

        Raises:
            Filtered: `too_short`, `no_usable_clip` (silent or clipped wherever looked), or `low_rate`, where the
                source's own rate fills no patch.
            ConfigError: the sound has another rate than `sample_rate_hz`.
        """
        room = usable_samples(item, self.sample_rate_hz)
        clip_samples = min(room, self._samples(self.frames))
        if room < self._samples(self.min_frames):
            found, needed = room / self.sample_rate_hz, self._samples(self.min_frames) / self.sample_rate_hz
            raise Filtered("too_short", f"{found:.2f} s < {needed:.2f} s")
        if self._mels_valid(item) < self.patch_f:
            raise Filtered("low_rate", f"{item.source_sample_rate_hz} hz fill no patch of {self.patch_f} mel bins")
        num_examples = min(self.max_examples, room // clip_samples)
        draw = 0
        for place in rng.order(num_examples):
            start = self._start(item, int(place), num_examples, clip_samples, rng)
            if start is not None:
                yield Example(draw, self._values(item, start, clip_samples, rng.draw(draw)))
                draw += 1
        if not draw:
            raise Filtered("no_usable_clip", "silent or clipped wherever looked")

    def mask(self, mask_seed: int, num_frames_valid: int, num_mels_valid: int, epoch: int = 0) -> NDArray[np.bool_]:
        """Return one example's hidden patches in one epoch: bool [grid_t, grid_f], True = hidden, real ones only."""
        real = (num_frames_valid // self.patch_t, num_mels_valid // self.patch_f)
        mask = np.zeros((self.frames // self.patch_t, self.n_mels // self.patch_f), bool)
        num_hidden = round(self.mask_ratio * real[0] * real[1])
        mask[: real[0], : real[1]] = random_mask(mask_generator(mask_seed, epoch), real, num_hidden)
        return mask

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return FLAC of 1.1 bytes a sample for every clip; sources are taken for 16-bit mono."""
        samples = min(max(1, source_num_bytes // 2), self.max_examples * self._samples(self.frames))
        return int(1.1 * samples + 600 * (1 + samples // self._samples(self.frames)))

    def rederive(self, row: Mapping[str, Any], item: Waveform) -> Mapping[str, Any]:
        """Return frames and mask from the stored sound and seed; no bits where `item` has other sound there."""
        clip, start = row["audio"], row["start"]
        valid = {
            "num_frames_valid": num_frames(len(clip), *self._window_and_hop),
            "num_mels_valid": self._mels_valid(item),
        }
        is_inside = 0 <= start <= len(item.samples) - len(clip)
        if not (is_inside and is_same_sound(item.clip(start, len(clip)), clip)):
            return valid | {"mask_bits": b""}
        return valid | {"mask_bits": pack_mask(self.mask(row["mask_seed"], *valid.values()))}

    @property
    def _window_and_hop(self) -> tuple[int, int]:
        return self.sample_rate_hz * self.win_ms // 1000, self.sample_rate_hz * self.hop_ms // 1000

    def _samples(self, frames: int) -> int:
        window, hop = self._window_and_hop
        return window + (frames - 1) * hop

    def _mels_valid(self, item: Waveform) -> int:
        tops_hz = mel_edges_hz(self.sample_rate_hz, self.n_mels)[2:]
        # Half a hertz: the topmost edge of an unresampled source is its own half rate, up to rounding.
        return int(np.sum(tops_hz <= item.source_sample_rate_hz / 2 + 0.5))

    def _start(self, item: Waveform, place: int, num_places: int, clip_samples: int, rng: ItemRng) -> int | None:
        """Return where a usable clip begins in its own share of the recording, or None."""
        slack = len(item.samples) // num_places - clip_samples
        begin = place * (len(item.samples) // num_places)
        generator = rng.item(f"place {place}")
        for _ in range(NUM_TRIES):
            start = begin + int(generator.integers(0, slack, endpoint=True))
            if is_usable(item.clip(start, clip_samples), self.min_level_dbfs, self.max_clipped_fraction):
                return start
            if not slack:
                break
        return None

    def _values(self, item: Waveform, start: int, clip_samples: int, generator: np.random.Generator) -> dict[str, Any]:
        frames_valid, mels_valid = num_frames(clip_samples, *self._window_and_hop), self._mels_valid(item)
        mask_seed = int(generator.integers(2**63))
        mask = self.mask(mask_seed, frames_valid, mels_valid)
        return {
            "audio": item.clip(start, clip_samples),
            "n_mels": self.n_mels,
            "win_ms": self.win_ms,
            "hop_ms": self.hop_ms,
            "patch_t": self.patch_t,
            "patch_f": self.patch_f,
            "grid_t": mask.shape[0],
            "grid_f": mask.shape[1],
            "num_frames_valid": frames_valid,
            "num_mels_valid": mels_valid,
            "mask_bits": pack_mask(mask),
            "mask_seed": mask_seed,
            "mask_ratio": self.mask_ratio,
            "num_masked": int(mask.sum()),
            "start": start,
            "sample_rate_hz": self.sample_rate_hz,
        }
