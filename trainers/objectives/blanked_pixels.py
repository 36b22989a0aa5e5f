"""Hidden pixels filled in by an encoder that sees the whole picture with them blank.

SimMIM (Xie et al., CVPR 2022, arXiv:2111.09886): patches blanked by the mean, absolute error over them. Context
encoders (Pathak et al., CVPR 2016, arXiv:1604.07379): holes filled with the visible pixels' mean colour, square error
over hole and a band around it that weighs ten times as much. Works with convolutional nets and transformers; a
spectrogram is a picture of one channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from ..data import Batch
from ..encoders.encoder import Encoder
from .base import Outcome, PretextObjective, Score
from .masks import Masks

#: Weight of the band around a hole.
_BAND_WEIGHT = 10.0


class BlankedPixels(PretextObjective):
    """Reconstruction of hidden pixels of the one media column `column`.

    error: absolute or square. band_px: visible pixels around a hole that count, too.
    """

    def __init__(
        self, encoder: Encoder, column: str, masks: Masks, error: Literal["absolute", "square"], band_px: int = 0
    ) -> None:
        super().__init__(encoder)
        self._column, self._masks, self._error, self._band_px = column, masks, error, band_px
        self.columns = (column, *masks.columns)
        self._num_channels = 1 if encoder.spec.medium == "audio" else 3
        self._stride = _stride(encoder)
        self.predict = nn.Conv2d(encoder.num_features, self._num_channels * self._stride**2, 1)

    def arrange(self, batch: Batch) -> dict[str, Any]:
        """Return the media, and which cells are hidden and which are real."""
        drawn = self._masks.draw(batch)
        return {self._column: batch.columns[self._column], "hidden": drawn.hidden, "real": drawn.real}

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean error over hidden pixels; `skill` is what its square gains over the blank."""
        inputs = self.encoder.preprocess(tensors[self._column])
        if not isinstance(inputs, Tensor):
            raise TypeError("pixels are tensors")
        picture = inputs.unsqueeze(1) if inputs.ndim == 3 else inputs
        hidden = F.interpolate(tensors["hidden"].float().unsqueeze(1), size=picture.shape[-2:], mode="nearest")
        real = F.interpolate(tensors["real"].float().unsqueeze(1), size=picture.shape[-2:], mode="nearest")
        blank = _visible_mean(picture, (1 - hidden) * real)
        seen = torch.where(hidden.bool(), blank, picture)
        features = self.encoder(seen.view(inputs.shape), with_layers=False).last
        predicted = self._to_pixels(features, picture.shape[-2:])
        weight = hidden + _BAND_WEIGHT * self._band(hidden)
        difference = predicted - picture
        errors = difference.abs() if self._error == "absolute" else difference.square()
        loss = (errors * weight).sum() / (self._num_channels * weight.sum()).clamp_min(1)
        missed = (difference.detach().square() * hidden).sum()
        baseline = ((blank - picture).square() * hidden).sum()
        return Outcome(loss, {"skill": Score(baseline - missed, baseline)})

    def _to_pixels(self, features: Tensor, size: torch.Size) -> Tensor:
        maps = as_map(features, self.encoder)
        pixels = F.pixel_shuffle(self.predict(maps), self._stride).float()
        if pixels.shape[-2:] == size:
            return pixels
        return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)

    def _band(self, hidden: Tensor) -> Tensor:
        """Return 1 for visible pixels within the band around a hole, else 0."""
        if not self._band_px:
            return torch.zeros_like(hidden)
        return F.max_pool2d(hidden, 2 * self._band_px + 1, stride=1, padding=self._band_px) - hidden


def as_map(features: Tensor, encoder: Encoder) -> Tensor:
    """Return an encoder's last layer as a map [B, C, rows, columns]."""
    if features.ndim == 4:
        return features
    tokens = features[:, encoder.num_prefix_tokens :].transpose(1, 2)
    grid: tuple[int, int] = encoder.grid  # type: ignore[assignment]
    maps = tokens.reshape(*tokens.shape[:2], *grid)
    # The rows of a spectrogram transformer are frequencies, those of a spectrogram are times.
    return maps.transpose(2, 3) if encoder.spec.medium == "audio" else maps


def _visible_mean(picture: Tensor, visible: Tensor) -> Tensor:
    """Return the mean of the visible pixels of each picture, [B, channels, 1, 1]: it tells nothing of the others."""
    total = (picture * visible).sum(dim=(2, 3), keepdim=True)
    return total / visible.sum(dim=(2, 3), keepdim=True).clamp_min(1)


def _stride(encoder: Encoder) -> int:
    """Return how many pixels of the input one place of the last layer stands for."""
    spec = encoder.spec
    if encoder.layer_names[0] != "stem":
        return int(spec.spectrum_patch[0]) if spec.medium == "audio" else spec.patch
    side, num_channels = (128, 1) if spec.medium == "audio" else (spec.side_px, 3)
    encoder.eval()  # else a batch norm would take the zeros into its means
    with torch.no_grad():
        last = encoder(torch.zeros(1, num_channels, side, side), with_layers=False).last
    encoder.train()
    return max(1, side // int(last.shape[-1]))
