"""Pure functions on mono sound (float32 [num_samples] in [-1, 1]): levels, equalising, and the log-mel front end.

Levels are dBFS of a full-scale square wave: 0 dBFS is a constant of 1.0, a full-scale sine has -3.01 dBFS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .rng import keyed_generator

Samples = NDArray[np.float32]

#: Level that stands for digital silence, so that a stored level is always a finite number.
SILENCE_DBFS = -120.0
#: Samples at or beyond this count as clipped: the last two steps of 16-bit sound.
CLIPPED_AT = 32766 / 32768
#: Largest value that a levelled clip may take: it must not clip once more when it is stored with 16 bits.
PEAK = 0.99
#: Where an equalising curve has its points, hz; between them the gain is linear in octaves.
EQ_POINTS_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
_EQ_OCTAVES = np.log2(EQ_POINTS_HZ)
_EQ_TAPS = 129
_FFT_SIZE = 1024


def rms_dbfs(samples: Samples) -> float:
    """Return the root mean square of `samples` in dBFS, at least `SILENCE_DBFS` (also for no samples at all)."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return max(SILENCE_DBFS, 10 * float(np.log10(power))) if power > 0 else SILENCE_DBFS


def clipped_fraction(samples: Samples) -> float:
    """Return the share in [0, 1] of samples that stand at either end of the range."""
    return float(np.mean(np.abs(samples) >= CLIPPED_AT)) if len(samples) else 0.0


def is_usable(samples: Samples, min_level_dbfs: float, max_clipped_fraction: float) -> bool:
    """Return whether a clip is loud enough and not clipped too much to learn from."""
    return rms_dbfs(samples) >= min_level_dbfs and clipped_fraction(samples) <= max_clipped_fraction


def remove_dc(samples: Samples) -> Samples:
    """Return `samples` less their mean; float32, same length."""
    return (samples - samples.mean(dtype=np.float64)).astype(np.float32) if len(samples) else samples


def at_level(samples: Samples, level_dbfs: float) -> Samples:
    """Return `samples` scaled to an RMS of `level_dbfs`, or to less where a peak would pass `PEAK`.

    Digital silence is returned as it is.
    """
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    if power <= 0:
        return samples
    gain = min(10 ** (level_dbfs / 20) / np.sqrt(power), PEAK / float(np.abs(samples).max()))
    return (samples * np.float32(gain)).astype(np.float32)


def equalise(samples: Samples, gains_db: tuple[float, ...], sample_rate_hz: int) -> Samples:
    """Return `samples` through a linear-phase filter with `gains_db` at `EQ_POINTS_HZ`; same length, no delay.

    Beyond the clip there is silence: the filter never wraps one end of a clip into the other.
    """
    if not any(gains_db) or not len(samples):
        return samples
    octaves, window = _eq_grid(sample_rate_hz)
    magnitude = 10 ** (np.interp(octaves, _EQ_OCTAVES, gains_db) / 20)
    taps = np.roll(np.fft.irfft(magnitude, _EQ_TAPS - 1), _EQ_TAPS // 2)
    taps = np.append(taps, taps[0]) * window
    begin = _EQ_TAPS // 2
    return _filtered(samples, taps.astype(np.float32))[begin : begin + len(samples)]


@lru_cache(maxsize=4)
def _eq_grid(sample_rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the filter's response is given, in octaves, and the window of its taps."""
    frequencies_hz = np.fft.rfftfreq(_EQ_TAPS - 1, 1 / sample_rate_hz)
    return np.log2(np.maximum(frequencies_hz, 1.0)), np.hanning(_EQ_TAPS + 2)[1:-1]


def _filtered(samples: Samples, taps: Samples) -> Samples:
    """Return the convolution of both and silence after it, by overlap-add: short transforms stay in the cache.

    Oppenheim, Schafer: Discrete-Time Signal Processing, 3rd edition, section 8.7.3.
    """
    step = _FFT_SIZE - len(taps) + 1
    blocks = np.zeros((-(-len(samples) // step), step), np.float32)
    blocks.reshape(-1)[: len(samples)] = samples
    shaped = np.fft.irfft(np.fft.rfft(blocks, _FFT_SIZE) * np.fft.rfft(taps, _FFT_SIZE), _FFT_SIZE)
    whole = np.zeros((len(blocks) + 1, step), np.float32)
    whole[:-1] = shaped[:, :step]
    whole[1:, : len(taps) - 1] += shaped[:, step:]
    return whole.reshape(-1)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What is done to one clip so that its loudness and its recorder's colour say nothing of its origin.

    level_dbfs: RMS it is scaled to. eq_db: gains at `EQ_POINTS_HZ`, dB; empty for no equalising. snr_db: how far white
    noise stands below the equalised clip; None for no noise.
    """

    level_dbfs: float
    eq_db: tuple[float, ...]
    snr_db: float | None = None

    @classmethod
    def draw(
        cls,
        generator: np.random.Generator,
        level_dbfs: float,
        spread_db: float,
        eq_db: float,
        snr_db: tuple[float, float] | None = None,
    ) -> Conditioning:
        """Return a level uniform in `level_dbfs` +- `spread_db`, gains uniform in +- `eq_db`, noise within `snr_db`.

        All are rounded to float32, as columns hold them: a stored row repeats the clip exactly.
        """
        level = np.float32(generator.uniform(level_dbfs - spread_db, level_dbfs + spread_db))
        gains = generator.uniform(-eq_db, eq_db, len(EQ_POINTS_HZ)).astype(np.float32)
        noise = None if snr_db is None else float(np.float32(generator.uniform(*snr_db)))
        return cls(float(level), tuple(float(gain) for gain in gains), noise)

    def __call__(self, samples: Samples, sample_rate_hz: int) -> Samples:
        """Return `samples` without DC, equalised, noisy, at the level; float32 in [-PEAK, PEAK], same length."""
        shaped = remove_dc(equalise(samples, self.eq_db, sample_rate_hz))
        return at_level(self._with_noise(shaped), self.level_dbfs)

    def _with_noise(self, samples: Samples) -> Samples:
        if self.snr_db is None:
            return samples
        # What was drawn is as good as a seed, and stands in the row already.
        generator = keyed_generator("white noise", self.level_dbfs, self.eq_db, self.snr_db)
        deviation = 10 ** ((rms_dbfs(samples) - self.snr_db) / 20)
        return samples + generator.standard_normal(len(samples), np.float32) * np.float32(deviation)


def is_same_sound(one: Samples, other: Samples, tolerance: float = 3 / 32768) -> bool:
    """Return whether two clips are equal to within `tolerance`: what 16 bits may change."""
    return len(one) == len(other) and float(np.abs(one - other).max(initial=0.0)) <= tolerance


def num_frames(num_samples: int, window_samples: int, hop_samples: int) -> int:
    """Return how many whole windows fit into `num_samples`; nothing is padded."""
    return max(0, 1 + (num_samples - window_samples) // hop_samples)


def mel_edges_hz(sample_rate_hz: int, num_mels: int) -> NDArray[np.float64]:
    """Return the corners of `num_mels` triangles, equally spaced in mel (HTK): float64 [num_mels + 2].

    Triangle m rises from corner m, peaks at m + 1 and ends at m + 2; the last corner is half the rate.
    """
    top = 2595 * np.log10(1 + sample_rate_hz / 2 / 700)
    edges: NDArray[np.float64] = 700 * (10 ** (np.linspace(0, top, num_mels + 2) / 2595) - 1)
    return edges


@lru_cache(maxsize=4)
def mel_filters(sample_rate_hz: int, fft_size: int, num_mels: int) -> NDArray[np.float32]:
    """Return triangular filters with a peak of 1: float32 [num_mels, fft_size // 2 + 1], read-only."""
    edges_hz = mel_edges_hz(sample_rate_hz, num_mels)
    bins_hz = np.fft.rfftfreq(fft_size, 1 / sample_rate_hz)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    filters: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters.setflags(write=False)
    return filters


def log_mel(
    samples: Samples, sample_rate_hz: int, *, num_mels: int = 128, window_ms: int = 25, hop_ms: int = 10
) -> NDArray[np.float32]:
    """Return natural logarithms of mel energies, float32 [num_frames, num_mels]; Hann windows, nothing padded."""
    window, hop = sample_rate_hz * window_ms // 1000, sample_rate_hz * hop_ms // 1000
    frames = num_frames(len(samples), window, hop)
    if not frames:
        return np.zeros((0, num_mels), np.float32)
    fft_size = 1 << (window - 1).bit_length()
    cut = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:frames]
    power = np.abs(np.fft.rfft(cut * np.hanning(window).astype(np.float32), fft_size)) ** 2
    energies = power @ mel_filters(sample_rate_hz, fft_size, num_mels).T
    logarithms: NDArray[np.float32] = np.log(energies + 1e-10).astype(np.float32)
    return logarithms
