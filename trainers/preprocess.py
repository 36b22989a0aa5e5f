"""Raw media to model inputs, on whatever device they are: pictures to normalised floats, sound to log-mel spectra."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..pipeline.sound import mel_filters

#: Mean and deviation of ImageNet's training pictures, RGB in [0, 1]: what most published encoders are fed by.
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE = tuple((1 / (255 * std),) for std in IMAGE_STD)
_SHIFT = tuple((-mean / std,) for mean, std in zip(IMAGE_MEAN, IMAGE_STD, strict=True))
#: Constants, never statistics of a clip, which would tell of its hidden parts: log-mel of clips at -26 dBFS lies
#: about -4 +- 4.
LOG_MEL_MEAN, LOG_MEL_STD = -4.0, 4.0
#: Added to energies before the logarithm.
_FLOOR = 1e-10


def normalize_images(pixels: Tensor) -> Tensor:
    """Return uint8 [..., H, W, 3] as float32 [..., 3, H, W], less ImageNet's mean, by its deviation."""
    # One multiply-add over bytes that were moved, not floats: a quarter of the traffic.
    channels_first = pixels.movedim(-1, -3).float()
    return channels_first * constant(_SCALE, pixels.device)[..., None] + constant(_SHIFT, pixels.device)[..., None]


@lru_cache(maxsize=32)
def constant(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Return numbers as a float32 tensor [num_rows, num_columns] that stays on the device; not to be written to.

    Copied there for every batch, they would have the host wait for the device each time, and then the device for it.
    """
    with torch.inference_mode(mode=False):  # for whoever asks next may be training
        return torch.tensor(rows, device=device)


def standardize_images(pixels: Tensor) -> Tensor:
    """Return uint8 [..., H, W, 3] as float32 [..., 3, H, W] with mean 0 and deviation 1 over each picture.

    As `pipeline.transforms.standardize`: for patches compared with each other.
    """
    patch = pixels.movedim(-1, -3).float()
    patch = patch - patch.mean(dim=(-3, -2, -1), keepdim=True)
    return patch / patch.std(dim=(-3, -2, -1), keepdim=True, correction=0).clamp_min(1e-3)


def log_mel(
    samples: Tensor, sample_rate_hz: int, *, num_mels: int = 128, window_ms: int = 25, hop_ms: int = 10
) -> Tensor:
    """Return natural logarithms of mel energies, float32 [..., num_frames, num_mels], of sound [..., num_samples].

    Equal to `pipeline.sound.log_mel` within rounding: Hann windows, nothing padded.
    """
    window, hop = sample_rate_hz * window_ms // 1000, sample_rate_hz * hop_ms // 1000
    if samples.shape[-1] < window:
        return samples.new_zeros((*samples.shape[:-1], 0, num_mels))
    fft_size = 1 << (window - 1).bit_length()
    hann, filters = _front_end(sample_rate_hz, fft_size, window, num_mels, str(samples.device))
    with torch.autocast(samples.device.type, enabled=False):
        frames = samples.float().unfold(-1, window, hop) * hann
        spectrum = torch.fft.rfft(frames, n=fft_size)
        energies = (spectrum.real.square() + spectrum.imag.square()) @ filters
        return torch.log(energies + _FLOOR)


def spectrogram(
    samples: Tensor, sample_rate_hz: int, *, num_frames: int, num_mels: int, window_ms: int, hop_ms: int
) -> Tensor:
    """Return normalised log-mel spectra float32 [..., num_frames, num_mels]; short sound is padded after."""
    spectra = log_mel(samples, sample_rate_hz, num_mels=num_mels, window_ms=window_ms, hop_ms=hop_ms)
    normalized = (spectra - LOG_MEL_MEAN) / LOG_MEL_STD
    missing = num_frames - normalized.shape[-2]
    if missing > 0:
        return torch.nn.functional.pad(normalized, (0, 0, 0, missing))
    return normalized[..., :num_frames, :]


@lru_cache(maxsize=8)
def _front_end(sample_rate_hz: int, fft_size: int, window: int, num_mels: int, device: str) -> tuple[Tensor, Tensor]:
    # Symmetric, as numpy.hanning.
    hann = torch.hann_window(window, periodic=False, device=device)
    filters = torch.tensor(mel_filters(sample_rate_hz, fft_size, num_mels).T, device=device)
    return hann, filters
