"""Where workers fit: what each of them can have on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What one machine has for workers."""

    num_cpus: float
    num_gpus: float = 0.0


def num_places(machines: Sequence[Machine], cpus_per_worker: float, gpus_per_worker: float = 0.0) -> int:
    """Return how many workers fit at once; a worker's share is never spread over machines."""
    return sum(
        int(min(one.num_cpus // cpus_per_worker, one.num_gpus // gpus_per_worker if gpus_per_worker else float("inf")))
        for one in machines
    )


def cpus_for_each(machines: Sequence[Machine], num_workers: int, gpus_per_worker: float = 0.0) -> int:
    """Return the most whole CPUs that each of the workers can have; 1 where they do not fit even so."""
    most = int(max((one.num_cpus for one in machines), default=1))
    fitting = (num for num in range(most, 1, -1) if num_places(machines, num, gpus_per_worker) >= num_workers)
    return next(fitting, 1)
