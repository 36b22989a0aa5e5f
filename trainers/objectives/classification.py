"""Classification: which turn, which order, whether two belong together. Cross-entropy over each label column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from ..encoders.encoder import Encoder
from .base import Outcome, PretextObjective, Score
from .views import Views

#: What a label that is not given is set to.
IGNORED = -1


@dataclass(frozen=True)
class Target:
    """One label column: its classes, or 0 for a sign (-1 or 1), which makes two."""

    name: str
    num_classes: int

    @property
    def num_outputs(self) -> int:
        """Classes that are told apart."""
        return self.num_classes or 2

    def classes_of(self, labels: Tensor) -> Tensor:
        """Return labels as class numbers int64 [B]; -1 where none is given."""
        return labels.long() if self.num_classes else (labels > 0).long()


class PairHead(nn.Module):
    """From the views' features [B, V, C] to predictions [B, num_outputs].

    One view: linear. Several: each is projected, and a layer of `width` looks at them side by side.
    """

    def __init__(self, num_features: Sequence[int], num_views: Sequence[int], width: int, num_outputs: int) -> None:
        super().__init__()
        total = sum(num_views)
        if total == 1:
            self.projections = nn.ModuleList([nn.Identity()])
            self.predict: nn.Module = nn.Linear(num_features[0], num_outputs)
            return
        narrow = max(16, min(width // 2, 4 * width // total))
        self.projections = nn.ModuleList([nn.Linear(features, narrow) for features in num_features])
        self.predict = nn.Sequential(
            nn.ReLU(), nn.Linear(total * narrow, width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return predictions for the views of each encoder, [B, V, C] each."""
        projected = [project(each) for project, each in zip(self.projections, features, strict=True)]
        predictions: Tensor = self.predict(torch.cat([each.flatten(1) for each in projected], dim=1))
        return predictions


class Towers(PretextObjective):
    """An objective on the pooled views of an encoder, or of two (pictures and sound)."""

    def __init__(self, encoder: Encoder, views: Views, other: tuple[Encoder, Views] | None = None) -> None:
        super().__init__(encoder)
        self._views = (views, other[1]) if other else (views,)
        self.audio_encoder = other[0] if other else None

    @property
    def encoders(self) -> Mapping[str, Encoder]:
        """One folder, or one for pictures and one for sound."""
        if self.audio_encoder is None:
            return super().encoders
        return {"encoder": self.encoder, "audio_encoder": self.audio_encoder}

    @property
    def media_columns(self) -> tuple[str, ...]:
        """The columns that the encoders see."""
        return tuple(name for views in self._views for name in views.columns)

    def head(self, width: int, num_outputs: int) -> PairHead:
        """Return a head for the views of this objective."""
        encoders = list(self.encoders.values())
        num_views = [views.num_views for views in self._views]
        return PairHead([encoder.num_features for encoder in encoders], num_views, width, num_outputs)

    def features(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the pooled views of each encoder, [B, V, C]."""
        pairs = zip(self._views, self.encoders.values(), strict=True)
        return [views.encode(encoder, tensors) for views, encoder in pairs]


class Classification(Towers):
    """Cross-entropy of each label column, added up; accuracy is that of the first."""

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        targets: Sequence[Target],
        *,
        other: tuple[Encoder, Views] | None = None,
        head_width: int = 512,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(encoder, views, other)
        self._targets = tuple(targets)
        self._label_smoothing = label_smoothing
        self.columns = (*self.media_columns, *(target.name for target in targets))
        self.heads = nn.ModuleDict({target.name: self.head(head_width, target.num_outputs) for target in targets})

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean cross-entropy over the examples with a label, and how many were right."""
        features = self.features(tensors)
        losses, scores = [], {}
        for number, target in enumerate(self._targets):
            logits = self.heads[target.name](features).float()
            classes = target.classes_of(tensors[target.name])
            losses.append(
                F.cross_entropy(logits, classes, ignore_index=IGNORED, label_smoothing=self._label_smoothing)
            )
            given = classes != IGNORED
            right = ((logits.detach().argmax(dim=1) == classes) & given).sum()
            scores["accuracy" if number == 0 else f"accuracy_{target.name}"] = Score(right, given.sum())
        return Outcome(torch.stack(losses).sum(), scores)
