from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.views import Views, as_views

from tests.small_media import SMALL, raw_media


@pytest.mark.parametrize(
    ("shape", "medium", "expected"),
    [
        ((2, 8, 8, 3), "image", (2, 1, 8, 8, 3)),
        ((2, 9, 8, 8, 3), "image", (2, 9, 8, 8, 3)),
        ((2, 3, 4, 8, 8, 3), "image", (2, 12, 8, 8, 3)),
        ((2, 4, 8, 8, 3), "video", (2, 1, 4, 8, 8, 3)),
        ((2, 3, 4, 8, 8, 3), "video", (2, 3, 4, 8, 8, 3)),
        ((2, 100), "audio", (2, 1, 100)),
    ],
)
def test_media_become_views_of_what_the_encoder_takes(
    shape: tuple[int, ...], medium: str, expected: tuple[int, ...]
) -> None:
    assert as_views(torch.zeros(shape), medium).shape == expected


def test_an_examples_views_stay_together_column_by_column() -> None:
    encoder = build_encoder("resnet-small", seed=0, **SMALL["image"]).eval()
    one, other = raw_media("image"), raw_media("image").flip(1)
    with torch.no_grad():
        pairs = Views(("a", "b"), 2).encode(encoder, {"a": one, "b": other})
        alone = Views(("b",), 1).encode(encoder, {"b": other})
    assert pairs.shape == (2, 2, 256)
    torch.testing.assert_close(pairs[:, 1], alone[:, 0], rtol=1e-4, atol=1e-5)


def test_patches_that_are_compared_show_neither_brightness_nor_contrast() -> None:
    encoder = build_encoder("resnet-small", seed=0, **SMALL["image"]).eval()
    patch = raw_media("image") // 2
    views = Views(("a",), 1, standardized=True)
    with torch.no_grad():
        found = [views.encode(encoder, {"a": each}) for each in (patch, patch + 100)]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
