"""The contract of an objective: which columns it needs, and what loss and metrics it makes of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..data import Batch
from ..encoders.encoder import Encoder


class Score(NamedTuple):
    """A metric as a sum and what it is divided by, both scalars on the device: sums add up over batches and ranks."""

    total: Tensor
    weight: Tensor


class Outcome(NamedTuple):
    """Of one batch. loss: scalar, the mean over its examples. scores: by name; `accuracy` where there is one.

    Named tuples, because FSDP looks for tensors in what a module returns, and knows these.
    """

    loss: Tensor
    scores: Mapping[str, Score]


class PretextObjective(nn.Module, ABC):
    """An encoder with the head and the loss of one objective.

    Attributes:
        columns: what a batch must hold.
        accumulates: whether a batch may be cut into micro batches; not where examples are compared with each other.
    """

    columns: tuple[str, ...]
    accumulates: bool = True

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def encoders(self) -> Mapping[str, Encoder]:
        """What is saved when training is done, by the name of its folder."""
        return {"encoder": self.encoder}

    def arrange(self, batch: Batch) -> dict[str, Any]:
        """Return arrays by name, each with an entry an example: what goes to the device.

        Runs in a thread beside the training; draws masks, with the batch's epoch.
        """
        return {name: batch.columns[name] for name in self.columns}

    @abstractmethod
    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return loss and scores of what `arrange` returned, as tensors on the device."""
