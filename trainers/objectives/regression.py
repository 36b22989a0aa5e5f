"""Regression: a number such as the gap between two clips. Mean square error, on a scale where 1 is its deviation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from .base import Outcome, Score
from .classification import Towers
from .views import Views


class Regression(Towers):
    """Mean square error of the one label column `target`.

    mean, deviation: of the labels, by which they are scaled.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        target: str,
        *,
        mean: float,
        deviation: float,
        other: tuple[Encoder, Views] | None = None,
        head_width: int = 512,
    ) -> None:
        super().__init__(encoder, views, other)
        self._target, self._mean, self._deviation = target, mean, max(deviation, 1e-6)
        self.columns = (*self.media_columns, target)
        self.predict = self.head(head_width, 1)

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean square error; `skill` is what it gains over predicting the mean."""
        labels = (tensors[self._target].float() - self._mean) / self._deviation
        predicted = self.predict(self.features(tensors)).float().squeeze(1)
        errors = (predicted - labels).square()
        missed = errors.detach().sum()
        absolute = (errors.detach().sqrt() * self._deviation).sum()
        scores = {
            "mean_absolute_error": Score(absolute, torch.full_like(absolute, len(labels))),
            "skill": Score(labels.square().sum() - missed, labels.square().sum()),
        }
        return Outcome(errors.mean(), scores)
