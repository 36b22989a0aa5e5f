from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from unlabeled.trainers.data import Batch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.blanked_pixels import BlankedPixels
from unlabeled.trainers.objectives.masks import PatchMasks

from tests.small_media import raw_media

MASKS = PatchMasks({"side_px": 32, "patch_px": 8, "mask_strategy": "unit", "unit_px": 16, "mask_ratio": 0.5})


def objective(name: str, error: Literal["absolute", "square"] = "absolute", band_px: int = 0) -> BlankedPixels:
    encoder = build_encoder(name, seed=0, side_px=32)
    return BlankedPixels(encoder, "image", MASKS, error, band_px).eval()


def tensors(model: BlankedPixels, images: torch.Tensor) -> dict[str, Any]:
    columns = {"image": images.numpy(), "mask_seed": np.array([3, 4])}
    return {name: torch.as_tensor(array) for name, array in model.arrange(Batch(0, 0, ("a", "b"), columns)).items()}


@pytest.mark.parametrize("name", ["resnet-small", "vit-mini"])
def test_a_hidden_pixel_moves_the_loss_through_its_own_target_alone(name: str) -> None:
    """What is predicted does not see it: the gradient of the loss is that of the absolute error, the same for all."""
    model = objective(name)
    images = raw_media("image")
    given = tensors(model, images)
    row, column = (int(place) for place in given["hidden"][0].nonzero()[0] * 8)
    losses = []
    for level in (0, 255):
        changed = images.clone()
        changed[0, row, column] = level
        losses.append(model({**given, "image": changed}).loss.item())
    assert losses[0] != losses[1]
    visible = images.clone()
    row, column = (int(place) for place in (~given["hidden"][0]).nonzero()[0] * 8)
    visible[0, row, column] = 255 - visible[0, row, column]
    assert model({**given, "image": visible}).loss.item() != pytest.approx(model(given).loss.item(), abs=1e-7)


def test_the_band_around_a_hole_counts_too() -> None:
    model = objective("resnet-small", "square", band_px=2)
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 4:8, 4:8] = 1
    band = model._band(hole)
    assert band.sum() == 8 * 8 - 4 * 4
    assert not (band * hole).any()


def test_batch_norm_means_are_those_of_training_alone() -> None:
    fresh, used = build_encoder("resnet-small", seed=0, side_px=32), objective("resnet-small").encoder
    for one, other in zip(fresh.buffers(), used.buffers(), strict=True):
        assert torch.equal(one, other)
