"""The learning rate as a function of examples seen: neither the batch size nor the number of ranks changes it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine (Loshchilov and Hutter, 2017, arXiv:1608.03983).

    peak: highest learning rate. num_examples: of the whole run. warmup_fraction: of the run, in [0, 1).
    final_fraction: of the peak, where the run ends.
    """

    peak: float
    num_examples: int
    warmup_fraction: float = 0.05
    final_fraction: float = 0.0

    def at(self, num_seen: int) -> float:
        """Return the rate for a batch before which `num_seen` examples have been seen; never beyond [0, peak]."""
        warmup = self.warmup_fraction * self.num_examples
        if num_seen < warmup:
            return self.peak * num_seen / warmup
        progress = min(1.0, (num_seen - warmup) / max(1.0, self.num_examples - warmup))
        floor = self.final_fraction
        return self.peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
