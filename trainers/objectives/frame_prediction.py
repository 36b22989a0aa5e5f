"""The frames that follow: predicted as what changes since the last frame seen, at a quarter of a patch's resolution.

After Han, Xie, Zisserman: Dense Predictive Coding, ICCV workshops 2019 (arXiv:1909.04656), with pixels for targets: a
loss that cannot collapse, and a baseline that means something, which is to copy the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from ..encoders.encoder import Encoder
from ..preprocess import normalize_images
from .base import Outcome, PretextObjective, Score
from .views import Views

#: Predicted pixels along each side of a place of the encoder's last layer.
_PX_PER_PLACE = 4


class FramePrediction(PretextObjective):
    """Mean square error of `num_targets` frames of the column `target`, from the context frames of `views`."""

    def __init__(self, encoder: Encoder, views: Views, target: str, num_targets: int) -> None:
        super().__init__(encoder)
        self._views, self._target, self._num_targets = views, target, num_targets
        self.columns = (*views.columns, target)
        width = 2 * encoder.num_features
        self.predict = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, num_targets * 3 * _PX_PER_PLACE**2, 1)
        )

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean square error; `skill` is what it gains over copying the last frame seen."""
        places = self._over_time(self._views.output(self.encoder, tensors).last, len(tensors[self._target]))
        # The last frame's places, and the mean over all: what is there, and how it has moved.
        features = torch.cat([places[:, -1], places.mean(dim=1)], dim=1)
        change = F.pixel_shuffle(self.predict(features), _PX_PER_PLACE).float()
        size = (change.shape[-2], change.shape[-1])
        change = change.view(-1, self._num_targets, 3, *size)
        last = _resized(tensors[self._views.columns[-1]][:, -1:], size)
        target = _resized(tensors[self._target], size)
        errors = (last + change - target).square()
        copied = (last - target).square()
        scores = {"skill": Score((copied - errors.detach()).sum(), copied.sum())}
        return Outcome(errors.mean(), scores)

    def _over_time(self, last: Tensor, batch: int) -> Tensor:
        """Return the last layer as [B, times, C, rows, columns]."""
        if last.ndim == 4:  # frame by frame, a map each
            return last.view(batch, -1, *last.shape[1:])
        tokens = last[:, self.encoder.num_prefix_tokens :].transpose(1, 2)
        grid: tuple[int, ...] = self.encoder.grid  # type: ignore[assignment]
        maps = tokens.reshape(*tokens.shape[:2], *grid)
        return maps.transpose(1, 2) if len(grid) == 3 else maps.view(batch, -1, *maps.shape[1:])


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Return frames uint8 [B, N, H, W, 3] as normalised floats [B, N, 3, *size], each the mean of what it covers."""
    normalized = normalize_images(frames)
    return F.adaptive_avg_pool2d(normalized.flatten(0, 1), size).view(*normalized.shape[:3], *size)
