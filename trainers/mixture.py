"""Batches of several datasets in fixed shares: `--data A=0.7 --data B=0.3`.

Shares are exact: they are taken as the decimals that were written and give a pattern of as many bundles as their least
common denominator (of 0.7 and 0.3: ten, seven of A), which the run repeats. Each dataset goes through its own epochs,
one after the other, and none of its examples is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..pipeline.errors import ConfigError
from .sequence import Bundles, EpochOrder, Indices, by_rank

MAX_PATTERN = 10_000


class DataShare(NamedTuple):
    """A dataset, its share of every run of batches, and the version that is read (the newest where it is None)."""

    dataset: str
    share: Fraction | float = Fraction(1)
    version: int | None = None


def parse_data(values: Sequence[str]) -> list[DataShare]:
    """Return what each `--data` value names: `DATASET`, or `DATASET=SHARE` where there are several.

    Raises:
        ConfigError: of several, one has no share; or a share is not above 0.
    """
    if len(values) == 1 and _share(values[0].rpartition("=")[2]) is None:
        return [DataShare(values[0])]
    found = []
    for value in values:
        dataset, _, text = value.rpartition("=")
        share = _share(text)
        if not dataset or share is None or share <= 0:
            raise ConfigError(f"data: found {value!r}, expected DATASET=SHARE with a share above 0, such as a/b=0.7.")
        found.append(DataShare(dataset, share))
    return found


def _share(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


class MixedSchedule:
    """What each step holds of several datasets: see `sequence.Schedule`.

    An epoch is as many steps as all datasets together would fill, whatever their shares. Units are numbered through,
    those of the first dataset first.

    Args:
        num_bundles: of each unit in plan order, for each dataset, int64 [num_units].
        shares: of each dataset; their sum counts as one.
        num_bundles_per_step: of a global batch.
        num_lanes: runs that an epoch of a dataset is cut into.
        seed: keys the orders.

    Raises:
        ConfigError: a dataset is empty, or the shares need a pattern that is too long.
    """

    num_dropped = num_padded = num_held_back = 0

    def __init__(
        self,
        num_bundles: Sequence[Indices],
        shares: Sequence[Fraction | float],
        num_bundles_per_step: int,
        num_lanes: int,
        seed: int,
    ) -> None:
        self._totals = [int(sizes.sum()) for sizes in num_bundles]
        if not all(self._totals):
            raise ConfigError("data: a dataset that is to be mixed has no examples in this split.")
        self._pattern = pattern(shares)
        self._first_units = np.cumsum([0, *map(len, num_bundles)])
        self._num_lanes = num_lanes
        self.num_bundles_per_step = num_bundles_per_step
        self.num_steps = max(1, sum(self._totals) // num_bundles_per_step)
        rarest = int(np.bincount(self._pattern).min())
        self.num_steps_held = -(-num_lanes * len(self._pattern) // (rarest * num_bundles_per_step)) + 1
        self._order = lru_cache(2 * len(num_bundles))(
            lambda dataset, epoch: EpochOrder(num_bundles[dataset], num_lanes, seed, epoch)
        )

    def step(self, epoch: int, step: int) -> Bundles:
        """See `Schedule.step`."""
        first = (epoch * self.num_steps + step) * self.num_bundles_per_step
        until = first + self.num_bundles_per_step
        units, places, lanes = [], [], []
        for dataset in range(len(self._totals)):
            taken = np.arange(self._num_before(dataset, first), self._num_before(dataset, until))
            epochs, positions = np.divmod(taken, self._totals[dataset])
            for number in np.unique(epochs).tolist():
                mine = positions[epochs == number]
                found = self._order(dataset, number).at(mine)
                units.append(found.units + self._first_units[dataset])
                places.append(found.places)
                lanes.append(mine % self._num_lanes)
        order = by_lanes(np.concatenate(lanes), math.gcd(self._num_lanes, self.num_bundles_per_step))
        return Bundles(np.concatenate(units)[order], np.concatenate(places)[order])

    def _num_before(self, dataset: int, position: int) -> int:
        """Return how many of the first `position` bundles of the run are of a dataset."""
        whole, rest = divmod(position, len(self._pattern))
        is_of = self._pattern == dataset
        return int(whole * np.count_nonzero(is_of) + np.count_nonzero(is_of[:rest]))


def by_lanes(lanes: Indices, num_shares: int) -> Indices:
    """Return an order of a batch's bundles in which most are read by the rank that reads their lane anyway.

    Args:
        lanes: of each bundle, int64 [num_bundles].
        num_shares: the greatest world size; divides `num_bundles`.
    """
    num_each = len(lanes) // num_shares
    order = np.argsort(lanes % num_shares, kind="stable")
    shares = (lanes % num_shares)[order]
    turn = np.arange(len(lanes)) - np.searchsorted(shares, shares)
    fits = turn < num_each
    places = np.full(len(lanes), -1)
    places[(shares * num_each + turn)[fits]] = order[fits]
    # What one lane has too many of fills up where others have too few.
    places[places < 0] = order[~fits]
    return places[by_rank(len(lanes), num_shares)]


def pattern(shares: Sequence[Fraction | float]) -> Indices:
    """Return which dataset each bundle of a repeating pattern is of, int64 [least common denominator], well spread.

    Raises:
        ConfigError: the pattern would be longer than MAX_PATTERN, or a share is not above 0.
    """
    # str: the decimal that was written, not the binary fraction next to it.
    exact = [share if isinstance(share, Fraction) else Fraction(str(share)) for share in shares]
    if any(share <= 0 for share in exact):
        raise ConfigError(f"data: found shares {', '.join(map(str, shares))}, expected each above 0.")
    normal = [share / sum(exact) for share in exact]
    length = math.lcm(*(share.denominator for share in normal))
    if length > MAX_PATTERN:
        raise ConfigError(
            f"data: the shares {', '.join(map(str, shares))} repeat only after {length} bundles, expected at most "
            f"{MAX_PATTERN}: use rounder shares."
        )
    counts = [int(share * length) for share in normal]
    datasets = np.repeat(np.arange(len(counts)), counts)
    ideal = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return datasets[np.argsort(ideal, kind="stable")]
