"""Contrastive learning within the batch: which of all second views belongs to a first one, and the other way round.

InfoNCE (van den Oord et al., 2018, arXiv:1807.03748) over cosine similarities, as in SimCLR (Chen et al., 2020,
arXiv:2002.05709) and, for two segments of one recording, COLA (Saeed et al., 2021, arXiv:2010.10915). With several
workers the views of all of them are compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from ..encoders.encoder import Encoder
from .base import Outcome, Score
from .classification import Towers
from .views import Views


class Contrastive(Towers):
    """Symmetric InfoNCE over the two views of each example."""

    accumulates = False

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        other: tuple[Encoder, Views] | None = None,
        width: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder, views, other)
        self.columns = self.media_columns
        self._temperature = temperature
        self.projections = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Linear(each.num_features, each.num_features), nn.ReLU(), nn.Linear(each.num_features, width)
                )
                for each in self.encoders.values()
            ]
        )

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the loss, and how often the right second view was the nearest."""
        pairs = zip(self.projections, self.features(tensors), strict=True)
        projected = torch.cat([project(features) for project, features in pairs], dim=1).float()
        one, other = F.normalize(projected, dim=-1).unbind(dim=1)
        all_one, all_other, offset = _everybodys(one, other)
        target = torch.arange(len(one), device=one.device) + offset
        forth = one @ all_other.T / self._temperature
        back = other @ all_one.T / self._temperature
        loss = (F.cross_entropy(forth, target) + F.cross_entropy(back, target)) / 2
        right = (forth.detach().argmax(dim=1) == target).sum()
        return Outcome(loss, {"accuracy": Score(right, torch.full_like(right, len(target)))})


def _everybodys(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the views of all workers, and where ours begin; gradients flow back to whoever made them."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return one, other, 0
    everybodys = [torch.cat(all_gather(mine)) for mine in (one, other)]  # type: ignore[no-untyped-call]
    return everybodys[0], everybodys[1], dist.get_rank() * len(one)
