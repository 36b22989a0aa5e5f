"""Colourisation: the squares of the ab plane that a picture's chroma falls into, predicted from its lightness.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016 (arXiv:1603.08511). Rare colours weigh more, by counts over
what has been trained on. As `pipeline.transforms.colorization_target`, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from numpy.typing import NDArray
from torch import Tensor, nn

from ...pipeline.transforms import AB_STEP, quantize_ab
from ..encoders.encoder import Encoder
from ..preprocess import constant
from .base import Outcome, PretextObjective, Score
from .blanked_pixels import as_map

#: Steps of the ab plane from the origin that hold sRGB.
_REACH = 12
#: Rows of the matrix from linear sRGB to XYZ over the D65 white point (IEC 61966-2-1).
_RGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_TO_WHITE = tuple(tuple(weight / white for weight in row) for row, white in zip(_RGB_TO_XYZ, _WHITE, strict=True))
#: Mean and deviation of L / 100 over photographs.
_L_MEAN, _L_STD = 0.45, 0.25
_UNIFORM_FRACTION = 0.5
_WIDTH = 64


class Colorization(PretextObjective):
    """Cross-entropy over ab squares [num_bins, 2] at half the resolution of the one picture column."""

    def __init__(self, encoder: Encoder, column: str, bins: NDArray[np.int16]) -> None:
        super().__init__(encoder)
        self.columns = (column,)
        cells = AB_STEP * np.arange(-_REACH, _REACH + 1, dtype=np.float32)
        plane = np.stack(np.meshgrid(cells, cells, indexing="ij"), axis=-1)
        self.register_buffer("bin_of_cell", torch.from_numpy(quantize_ab(plane, bins)), persistent=False)
        self.register_buffer("counts", torch.zeros(len(bins)))
        self.widen = nn.Conv2d(encoder.num_features, _WIDTH * 16, 1)
        self.predict = nn.Conv2d(_WIDTH, len(bins), 1)

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the rebalanced cross-entropy, and the share of pixels whose square was found."""
        lab = rgb_to_lab(tensors[self.columns[0]])
        lightness = ((lab[:, :1] / 100 - _L_MEAN) / _L_STD).expand(-1, 3, -1, -1)
        target = self._bins(F.avg_pool2d(lab[:, 1:], 2))
        features = as_map(self.encoder(lightness, with_layers=False).last, self.encoder)
        wide = F.relu(F.pixel_shuffle(self.widen(features), 4))
        logits = self.predict(
            F.interpolate(wide, size=target.shape[-2:], mode="bilinear", align_corners=False)
        ).float()
        losses = F.cross_entropy(logits, target, weight=self._weights(target), reduction="mean")
        right = (logits.detach().argmax(dim=1) == target).sum()
        return Outcome(losses, {"accuracy": Score(right, torch.full_like(right, target.numel()))})

    def _bins(self, ab: Tensor) -> Tensor:
        """Return the square of each ab [B, 2, H, W], int64 [B, H, W]."""
        cells = (ab / AB_STEP).round().long().clamp(-_REACH, _REACH) + _REACH
        table: Tensor = self.bin_of_cell  # type: ignore[assignment]
        return table[cells[:, 0], cells[:, 1]]

    def _weights(self, target: Tensor) -> Tensor:
        """Return the weight of each square, after counting this batch's; as `transforms.rebalanced_weights`."""
        counts: Tensor = self.counts  # type: ignore[assignment]
        if self.training:
            # bincount waits for the device, to find the greatest number.
            found, ones = target.flatten(), counts.new_ones(()).expand(target.numel())
            counts += torch.zeros_like(counts).scatter_add_(0, found, ones)
        share = counts / counts.sum().clamp_min(1)
        weights = 1 / ((1 - _UNIFORM_FRACTION) * share + _UNIFORM_FRACTION / len(share))
        return weights / (share * weights).sum().clamp_min(1e-12)


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """Return sRGB uint8 [B, H, W, 3] as CIE Lab (D65), float32 [B, 3, H, W]: as `pipeline.transforms.rgb_to_lab`."""
    with torch.autocast(pixels.device.type, enabled=False):
        level = pixels.float() / 255
        linear = torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
        xyz = linear @ constant(_TO_WHITE, pixels.device).T
        curved = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-9) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
        x, y, z = curved.unbind(-1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
