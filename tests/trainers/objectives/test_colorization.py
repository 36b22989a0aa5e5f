"""The same lightness, colours and weights as the pipeline's."""

from __future__ import annotations

import numpy as np
import torch
from unlabeled.pipeline import transforms
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.colorization import Colorization, rgb_to_lab

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
BINS = transforms.ab_bins()


def objective() -> Colorization:
    return Colorization(build_encoder("resnet-small", seed=0, side_px=64), "image", BINS)


def test_lab_is_the_pipelines() -> None:
    expected = transforms.rgb_to_lab(PIXELS).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(rgb_to_lab(torch.from_numpy(PIXELS)), expected, atol=0.02)


def test_squares_are_the_pipelines_at_half_the_resolution() -> None:
    model = objective()
    lab = rgb_to_lab(torch.from_numpy(PIXELS))
    found = model._bins(torch.nn.functional.avg_pool2d(lab[:, 1:], 2))
    expected = np.stack([transforms.colorization_target(picture, BINS)[1] for picture in PIXELS])
    assert (found.numpy() == expected).mean() > 0.999  # rounding at a square's border


def test_rare_colours_weigh_more_as_in_the_pipeline() -> None:
    model = objective().train()
    target = torch.tensor([0] * 90 + [1] * 10)
    counts = np.bincount(target, minlength=len(BINS))
    np.testing.assert_allclose(model._weights(target), transforms.rebalanced_weights(counts), rtol=1e-4)


def test_colour_is_not_seen() -> None:
    model = objective().eval()
    grey = torch.full((1, 64, 64, 3), 119, dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model({"image": grey})
    model({"image": torch.from_numpy(PIXELS[:1])})
    assert torch.equal(seen[0][:, 0], seen[0][:, 1])
    assert torch.equal(seen[1][:, 0], seen[1][:, 2])
