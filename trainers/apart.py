"""Batches of contrastive tasks: no two examples of one source in a batch, since each is the others' negative.

An epoch is cut into blocks of consecutive batches, at least as many as a source has examples. The examples of a block
are those that its batches would hold anyway, so they come from the same few row groups; sorted by source, they are
dealt out like cards: the i-th goes to batch i mod num_batches. The examples of one source are neighbours in that
order and no more than there are batches, so no two meet, and every example is seen once.

A source with more examples than `MAX_PER_SOURCE`, or than an epoch has batches, cannot be kept apart without reading
all of a dataset at once, or at all: an epoch then holds as many of its examples as can be, other ones each epoch, and
the rest are counted as held back.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..pipeline.errors import ConfigError
from ..pipeline.serial_arrow import sorted_by
from .sequence import Bundles, EpochOrder, Indices, by_rank, check_enough, in_lanes, keyed_order
from .units import Split

#: Examples of one source in an epoch, and so batches of a block, whose row groups are open at once.
MAX_PER_SOURCE = 64
#: What must be known of each part to keep its examples apart.
COLUMNS = ("generation", "ordinal", "split", "group_id", "source_key", "num_examples")


class ApartSchedule:
    """Batches without two examples of one source: see `sequence.Schedule`. A bundle is one row.

    Args:
        num_rows: of each unit in plan order, int64 [num_units].
        sources: of each row in plan order, int64 [num_rows.sum()]: equal numbers, same source.
        batch_size: rows of a global batch.
        num_lanes: runs that an epoch is cut into.
        seed: keys the orders.

    Raises:
        ConfigError: a batch is larger than the number of sources.
    """

    num_padded = 0

    def __init__(self, num_rows: Indices, sources: Indices, batch_size: int, num_lanes: int, seed: int) -> None:
        check_enough(len(sources), batch_size, "drop")
        counts = np.bincount(sources)
        self._num_rows, self._sources = num_rows, sources
        self._firsts = np.cumsum(num_rows) - num_rows
        self._num_lanes, self._seed = num_lanes, seed
        self.num_bundles_per_step = batch_size
        self.max_per_source = most_per_source(counts, batch_size)
        held = int(np.minimum(counts, self.max_per_source).sum())
        self.num_held_back = len(sources) - held
        self.num_steps, self.num_dropped = divmod(held, batch_size)
        self.num_steps_held = 2 * self.max_per_source
        self._sequence = lru_cache(2)(self._make_sequence)
        self._block = lru_cache(4)(self._make_block)

    def step(self, epoch: int, step: int) -> Bundles:
        """See `Schedule.step`."""
        num_blocks = max(1, self.num_steps // self.max_per_source)
        block = min(step // self.max_per_source, num_blocks - 1)
        rows = self._block(epoch, block, block == num_blocks - 1)[step - block * self.max_per_source]
        units = np.searchsorted(self._firsts, rows, side="right") - 1
        return Bundles(units, rows - self._firsts[units])

    def _make_sequence(self, epoch: int) -> Indices:
        """Return the rows of an epoch (numbers in plan order) as they stand before they are cut into lanes."""
        order = EpochOrder(self._num_rows, self._num_lanes, self._seed, epoch)
        found = order.in_sequence(np.arange(len(self._sources)))
        rows = self._firsts[found.units] + found.places
        if self.num_held_back:
            lot = keyed_order(len(rows), "held back", self._seed, epoch)
            rows = rows[_turn(self._sources, lot)[rows] < self.max_per_source]
        return rows

    def _make_block(self, epoch: int, block: int, is_last: bool) -> Indices:
        """Return the rows of a block's batches, int64 [num_batches, batch_size]."""
        size, first = self.num_bundles_per_step, block * self.max_per_source
        num_batches = self.num_steps - first if is_last else self.max_per_source
        sequence = self._sequence(epoch)
        positions = np.arange(first * size, (first + num_batches) * size)
        rows = sequence[in_lanes(positions, len(sequence), self._num_lanes)]
        _, firsts, inverse = np.unique(self._sources[rows], return_index=True, return_inverse=True)
        met = firsts[inverse]
        # By lanes first: each rank's share of a batch comes from its own.
        num_shares = math.gcd(self._num_lanes, size)
        dealt = rows[np.lexsort((met, met % num_shares))].reshape(size, num_batches).T
        return dealt[:, by_rank(size, num_shares)]


def most_per_source(counts: Indices, batch_size: int) -> int:
    """Return how many examples of a source an epoch can hold and keep apart: no more than it has batches.

    Args:
        counts: examples of each source.
        batch_size: of a global batch.

    Raises:
        ConfigError: not even one, because there are fewer sources than a batch has examples.
    """
    for most in range(min(MAX_PER_SOURCE, int(counts.max())), 0, -1):
        if int(np.minimum(counts, most).sum()) // batch_size >= most:
            return most
    num_sources = np.count_nonzero(counts)
    raise ConfigError(
        f"global_batch_size: found {batch_size}, expected at most {num_sources}: the examples of one source must not "
        f"share a batch, and there are {num_sources} sources."
    )


def sources_of_rows(parts: pa.Table, split: Split) -> Indices:
    """Return a number for each row of a split in plan order, int64: equal numbers are to be kept apart.

    Sources of one group (copies of one recording) are one, unless a group has more than `MAX_PER_SOURCE` examples:
    then groups stand for more (a site, a camera), and each source is its own. `parts` has COLUMNS of the parts table.
    """
    parts = parts.filter(pc.greater(parts["num_examples"], 0))
    if split != "all":
        parts = parts.filter(pc.equal(parts["split"], split))
    parts = sorted_by(parts, "generation", "ordinal")
    num_examples = parts["num_examples"].to_numpy()
    groups = _numbered(parts["group_id"])
    if len(groups) and np.bincount(groups, num_examples).max() > MAX_PER_SOURCE:
        groups = _numbered(parts["source_key"])
    return np.repeat(groups, num_examples)


def _numbered(column: pa.ChunkedArray) -> Indices:
    return np.asarray(column.combine_chunks().dictionary_encode().indices, np.int64)


def _turn(sources: Indices, lot: Indices) -> Indices:
    """Return, for each row, how many rows of its source have been drawn before it; `lot` is a permutation of rows."""
    drawn_at = np.empty_like(lot)
    drawn_at[lot] = np.arange(len(lot))
    order = np.lexsort((drawn_at, sources))
    ordered = sources[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    turns = np.empty_like(lot)
    turns[order] = np.arange(len(lot)) - np.repeat(starts, np.diff(starts, append=len(lot)))
    return turns
