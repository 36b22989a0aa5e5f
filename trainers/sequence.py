"""Which examples make which batch: arithmetic alone, the same for every number of ranks.

An epoch is one sequence of bundles (rows that stay together; of most tasks one row): units (row groups) in keyed
order, bundles in keyed order inside each unit. It is cut into lanes, runs of consecutive bundles that are equal to
within a bundle, and the p-th bundle of the epoch is the next one of lane p mod num_lanes. A step takes the next
bundles of the epoch; the bundle in place i of a step belongs to rank i mod world_size. World sizes divide the number
of lanes and the bundles of a step, so a rank reads whole lanes, every rank has as many bundles a step, and the state
is the step.

Orders are stable argsorts of raw Philox words, which no release of numpy changes, unlike `Generator.permutation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..pipeline.errors import ConfigError
from ..pipeline.rng import keyed_generator

Indices = NDArray[np.int64]
Last = Literal["drop", "pad"]


@dataclass(frozen=True)
class Bundles:
    """Some bundles of a split: unit (index in plan order) and place in the unit of each, both int64 [num_bundles]."""

    units: Indices
    places: Indices

    def of_rank(self, rank: int, world_size: int) -> Bundles:
        """Return the bundles of a step that belong to one rank, in the step's order."""
        return Bundles(self.units[rank::world_size], self.places[rank::world_size])


class Schedule(Protocol):
    """What each step of each epoch holds.

    Attributes:
        num_bundles_per_step: of the global batch.
        num_steps: of an epoch.
        num_dropped: bundles of an epoch that no step holds, because the last batch would not be full.
        num_padded: bundles that the last batch of an epoch repeats to be full.
        num_held_back: bundles that an epoch leaves for others, because too many of one source cannot be kept apart.
        num_steps_held: a unit that no step has used for this many steps will not be used again soon.
    """

    num_bundles_per_step: int
    num_steps: int
    num_dropped: int
    num_padded: int
    num_held_back: int
    num_steps_held: int

    def step(self, epoch: int, step: int) -> Bundles:
        """Return the bundles of the `step`-th batch of an epoch, every rank's."""
        ...


def keyed_order(num: int, *identity: object) -> Indices:
    """Return a permutation of range(num) that depends on `identity` alone, int64 [num]."""
    words = keyed_generator("order", *identity).bit_generator.random_raw(num)
    return np.argsort(np.atleast_1d(words), kind="stable")


def check_world(world_size: int, rank: int, num_lanes: int, num_bundles_per_step: int) -> None:
    """Check that every rank gets whole lanes and as many bundles of each batch as the others.

    Raises:
        ConfigError: it does not, naming the world sizes that would do.
    """
    common = math.gcd(num_lanes, num_bundles_per_step)
    if world_size < 1 or common % world_size:
        divisors = [size for size in range(1, common + 1) if common % size == 0]
        raise ConfigError(
            f"world_size: found {world_size}, expected a divisor of num_lanes ({num_lanes}) and of the bundles of a "
            f"global batch ({num_bundles_per_step}): {', '.join(map(str, divisors))}."
        )
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank: found {rank}, expected 0 to {world_size - 1} (world_size is {world_size}).")


def world_sizes(num_workers: int, min_workers: int, num_lanes: int, num_bundles_per_step: int) -> list[int]:
    """Return the numbers of workers that a run may have, the most first: each gets whole lanes and equal batches."""
    common = math.gcd(num_lanes, num_bundles_per_step)
    return [size for size in range(num_workers, min_workers - 1, -1) if common % size == 0]


def num_shares_of(world_size: int, num_lanes: int, num_bundles_per_step: int) -> int:
    """Return into how many equal shares, each of whole lanes, one rank's share of a batch can be cut."""
    return math.gcd(num_lanes, num_bundles_per_step) // world_size


def in_lanes(positions: Indices, num_bundles: int, num_lanes: int) -> Indices:
    """Return where in a sequence of `num_bundles` the bundles at `positions` of the epoch stand."""
    whole, longer = divmod(num_bundles, num_lanes)
    lanes = positions % num_lanes
    return lanes * whole + np.minimum(lanes, longer) + positions // num_lanes


def by_rank(num: int, num_shares: int) -> Indices:
    """Return the order that gives the i-th of `num_shares` equal runs of a batch to the ranks i mod world_size.

    Args:
        num: bundles of the batch, int64 [num].
        num_shares: the greatest world size; divides `num`.
    """
    return np.arange(num).reshape(num_shares, num // num_shares).T.reshape(-1)


class EpochOrder:
    """The sequence of one epoch.

    Args:
        num_bundles: of each unit in plan order, int64 [num_units].
        num_lanes: runs that the sequence is cut into.
        seed: keys the order, with the epoch.
        epoch: from 0.
    """

    def __init__(self, num_bundles: Indices, num_lanes: int, seed: int, epoch: int) -> None:
        self._order = keyed_order(len(num_bundles), "units", seed, epoch)
        self._num_bundles = num_bundles
        self._ends = np.cumsum(num_bundles[self._order])
        self.num_bundles = int(self._ends[-1]) if len(num_bundles) else 0
        self._num_lanes = num_lanes
        # A unit is asked for by each batch that its lane serves; its permutation is kept while it is in use.
        self._inside = lru_cache(4 * num_lanes)(lambda unit: keyed_order(int(num_bundles[unit]), seed, epoch, unit))

    def at(self, positions: Indices) -> Bundles:
        """Return the bundles at positions of the epoch, each in [0, num_bundles)."""
        return self.in_sequence(in_lanes(positions, self.num_bundles, self._num_lanes))

    def in_sequence(self, places: Indices) -> Bundles:
        """Return the bundles at places of the sequence before it is cut into lanes, each in [0, num_bundles)."""
        slots = np.searchsorted(self._ends, places, side="right")
        units = self._order[slots]
        offsets = places - (self._ends[slots] - self._num_bundles[units])
        inside = [self._inside(unit)[offset] for unit, offset in zip(units.tolist(), offsets.tolist(), strict=True)]
        return Bundles(units, np.array(inside, np.int64))


class PlainSchedule:
    """Batches as the sequence gives them: see `Schedule`.

    Args:
        num_bundles: of each unit in plan order, int64 [num_units].
        num_bundles_per_step: of a global batch.
        num_lanes: runs that an epoch is cut into.
        seed: keys the orders.
        last: what becomes of the end of an epoch that fills no batch: dropped, or filled up with its first bundles.

    Raises:
        ConfigError: there is nothing, or (dropping) less than one batch.
    """

    num_held_back = 0

    def __init__(
        self, num_bundles: Indices, num_bundles_per_step: int, num_lanes: int, seed: int, last: Last = "drop"
    ) -> None:
        total = int(num_bundles.sum())
        check_enough(total, num_bundles_per_step, last)
        self.num_bundles_per_step = num_bundles_per_step
        self.num_steps = total // num_bundles_per_step if last == "drop" else -(-total // num_bundles_per_step)
        self.num_dropped = max(0, total - self.num_steps * num_bundles_per_step)
        self.num_padded = max(0, self.num_steps * num_bundles_per_step - total)
        self.num_steps_held = -(-num_lanes // num_bundles_per_step)
        self.order = lru_cache(2)(lambda epoch: EpochOrder(num_bundles, num_lanes, seed, epoch))

    def step(self, epoch: int, step: int) -> Bundles:
        """See `Schedule.step`."""
        order = self.order(epoch)
        start = step * self.num_bundles_per_step
        return order.at(np.arange(start, start + self.num_bundles_per_step) % order.num_bundles)


def check_enough(num_bundles: int, num_bundles_per_step: int, last: Last) -> None:
    """Raise ConfigError where an epoch of `num_bundles` would have no batch."""
    if num_bundles == 0:
        raise ConfigError("the split holds no examples; nothing can be loaded from it.")
    if last == "drop" and num_bundles < num_bundles_per_step:
        raise ConfigError(
            f"global_batch_size: a batch of {num_bundles_per_step} bundles is more than the {num_bundles} that the "
            "split holds; use a smaller batch, or last='pad'."
        )
