"""The same front ends as the pipeline's, on tensors."""

from __future__ import annotations

import numpy as np
import torch
from unlabeled.pipeline import sound, transforms
from unlabeled.trainers.preprocess import log_mel, normalize_images, spectrogram, standardize_images

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)


def test_normalized_pictures_are_channels_first_with_the_mean_and_deviation_of_imagenet() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((PIXELS / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normalize_images(torch.from_numpy(PIXELS)), expected, atol=1e-5)


def test_standardized_patches_are_those_of_the_pipeline() -> None:
    expected = transforms.standardize(PIXELS).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(standardize_images(torch.from_numpy(PIXELS)), expected, atol=1e-4)


def test_log_mel_is_the_pipelines() -> None:
    samples = (0.1 * np.random.default_rng(1).standard_normal(4000)).astype(np.float32)
    expected = sound.log_mel(samples, 16000, num_mels=40)
    np.testing.assert_allclose(log_mel(torch.from_numpy(samples), 16000, num_mels=40), expected, atol=1e-3)


def test_spectrograms_are_padded_and_cut_to_one_length() -> None:
    sizes = {"num_frames": 20, "num_mels": 16, "window_ms": 25, "hop_ms": 10}
    for num_samples in (10, 1000, 90_000):
        spectra = spectrogram(torch.zeros(2, num_samples), 16000, **sizes)
        assert spectra.shape == (2, 20, 16)
    padded = spectrogram(torch.ones(1, 1000), 16000, **sizes)
    assert torch.equal(padded[:, 4:], torch.zeros(1, 16, 16))
