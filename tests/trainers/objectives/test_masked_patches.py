from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from unlabeled.trainers.data import Batch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.masked_patches import MaskedPatches, cut_patches, normalized
from unlabeled.trainers.objectives.masks import PatchMasks

from tests.small_media import raw_media

MASKS = PatchMasks({"side_px": 32, "patch_px": 8, "mask_strategy": "random", "unit_px": 32, "mask_ratio": 0.75})


def objective() -> MaskedPatches:
    encoder: Any = build_encoder("vit-mini", seed=0, side_px=32, patch_px=8)
    return MaskedPatches(encoder, "image", MASKS, 32, 1).eval()


def tensors(model: MaskedPatches, images: torch.Tensor) -> dict[str, torch.Tensor]:
    columns = {"image": images.numpy(), "mask_seed": np.array([3, 4])}
    return {name: torch.as_tensor(array) for name, array in model.arrange(Batch(0, 0, ("a", "b"), columns)).items()}


@pytest.mark.parametrize(
    ("name", "shape", "grid"),
    [
        ("vit-mini", {"side_px": 32, "patch_px": 8}, (4, 4)),
        ("videomae-mini", {"side_px": 32, "num_frames": 4, "patch_px": 16}, (2, 2, 2)),
        ("ast-mini", {"spectrum_frames": 32, "num_mels": 48}, (3, 2)),
    ],
)
def test_patches_stand_in_the_order_of_the_tokens(name: str, shape: dict[str, Any], grid: tuple[int, ...]) -> None:
    """A patch embedding that takes the mean of a patch gives the means of the patches that are cut."""
    encoder: Any = build_encoder(name, seed=0, **shape)
    assert encoder.grid == grid
    size = {"image": (2, 3, 32, 32), "video": (2, 4, 3, 32, 32), "audio": (2, 32, 48)}[encoder.spec.medium]
    inputs = torch.randn(size)
    projection = encoder.model.embeddings.patch_embeddings.projection
    with torch.no_grad():
        projection.weight.fill_(1 / projection.weight[0].numel())
        projection.bias.zero_()
        tokens = encoder.model.embeddings.patch_embeddings(inputs)
    torch.testing.assert_close(tokens[..., 0], cut_patches(inputs, encoder).mean(dim=-1), atol=1e-5, rtol=1e-4)


def test_hidden_pixels_change_the_target_but_nothing_that_is_predicted() -> None:
    model = objective()
    images = raw_media("image")
    given = tensors(model, images)
    hidden = given["hidden"][0].view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    changed = images.clone()
    changed[0][hidden] = 255 - changed[0][hidden]
    seen = [
        model._patches.encode_visible(model._patches.preprocess(each), given["visible"])  # type: ignore[arg-type]
        for each in (images, changed)
    ]
    assert torch.equal(*seen)
    assert model(given).loss != model({**given, "image": changed}).loss


def test_predicting_nothing_has_a_loss_of_one_and_no_skill() -> None:
    model = objective()
    with torch.no_grad():
        model.predict.weight.zero_()
        model.predict.bias.zero_()
    outcome = model(tensors(model, raw_media("image")))
    assert outcome.loss.item() == pytest.approx(1, abs=0.01)
    assert outcome.scores["skill"].total.item() == pytest.approx(0, abs=1e-3)


def test_normalized_patches_have_mean_0_and_deviation_1() -> None:
    found = normalized(5 + 3 * torch.randn(4, 64))
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=1), torch.ones(4), atol=1e-3, rtol=0)
