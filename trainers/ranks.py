"""The workers of a run: who we are among them, and the few things that they tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Our number among `world_size` workers; alone, nothing is exchanged.

    local_rank: our number on this machine, which names the GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether we are the one that writes and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all workers."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, numbers: Sequence[int], device: torch.device) -> list[int]:
        """Return what the first worker gave."""
        if self.world_size == 1:
            return list(numbers)
        values = torch.tensor(list(numbers), dtype=torch.int64, device=device)
        dist.broadcast(values, src=0)
        return [int(value) for value in values.tolist()]

    def barrier(self) -> None:
        """Wait for all workers."""
        if self.world_size > 1:
            dist.barrier()
