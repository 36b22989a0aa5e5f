from __future__ import annotations

import torch
from unlabeled.trainers.encoders.build import build_encoder

from tests.small_media import raw_media


def test_resnet_small_keeps_places_of_a_small_picture() -> None:
    encoder = build_encoder("resnet-small", seed=0, side_px=32).eval()
    with torch.no_grad():
        layers = encoder(encoder.preprocess(raw_media("image"))).layers
    assert [layer.shape[-1] for layer in layers] == [16, 16, 8, 4]


def test_sound_is_read_as_a_picture_of_one_channel() -> None:
    encoder = build_encoder("resnet-small", seed=0, medium="audio", num_mels=32, spectrum_frames=64)
    assert encoder.preprocess(torch.zeros(2, 16000)).shape == (2, 1, 64, 32)  # type: ignore[union-attr]
