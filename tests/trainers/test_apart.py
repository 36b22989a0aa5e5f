"""Examples of one source in different batches, and still each of them once."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.apart import MAX_PER_SOURCE, ApartSchedule, most_per_source

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=60)


def schedule(counts: list[int], batch_size: int, num_lanes: int = 24, seed: int = 0) -> ApartSchedule:
    """Return the schedule of sources with so many examples each, in units of up to 16 rows."""
    sources = np.repeat(np.arange(len(counts)), counts)
    num_rows = np.array([16] * (len(sources) // 16) + [len(sources) % 16])
    return ApartSchedule(num_rows[num_rows > 0], sources, batch_size, num_lanes, seed)


def rows(of: ApartSchedule, epoch: int, step: int) -> list[int]:
    """Return the rows of a batch, numbered in plan order."""
    found = of.step(epoch, step)
    return (16 * found.units + found.places).tolist()


@given(
    counts=COUNTS,
    batch_size=st.integers(1, 24),
    num_lanes=st.sampled_from([1, 4, 6, 24]),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 2),
)
def test_no_batch_holds_two_of_a_source_and_each_example_comes_once(
    counts: list[int], batch_size: int, num_lanes: int, seed: int, epoch: int
) -> None:
    assume(len(counts) >= batch_size)
    of = schedule(counts, batch_size, num_lanes, seed)
    sources = np.repeat(np.arange(len(counts)), counts)
    seen: Counter[int] = Counter()
    for step in range(of.num_steps):
        batch = rows(of, epoch, step)
        assert len(batch) == batch_size == len(set(sources[batch].tolist()))
        seen.update(batch)
    assert set(seen.values()) == {1}
    assert len(seen) + of.num_dropped + of.num_held_back == sum(counts)
    assert of.num_dropped < batch_size


@given(counts=COUNTS, batch_size=st.integers(1, 24))
def test_nothing_is_held_back_where_all_can_be_kept_apart(counts: list[int], batch_size: int) -> None:
    assume(sum(counts) // batch_size >= max(counts))
    assert schedule(counts, batch_size).num_held_back == 0


def test_what_is_held_back_is_seen_in_other_epochs() -> None:
    of = schedule([40, *[1] * 12], 4)
    assert of.num_held_back > 0
    epochs = [{row for step in range(of.num_steps) for row in rows(of, epoch, step)} for epoch in range(200)]
    assert set.union(*epochs) == set(range(52))
    assert len({frozenset(epoch) for epoch in epochs}) > 1


def test_a_source_beyond_all_bounds_gives_an_epoch_its_share() -> None:
    assert schedule([1000, *[1] * 1000], 4).max_per_source == MAX_PER_SOURCE


def test_fewer_sources_than_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="global_batch_size: found 5, expected at most 4"):
        most_per_source(np.array([9, 9, 9, 9]), 5)


def test_a_rank_reads_mostly_its_own_lanes() -> None:
    """Only sources whose rows lie on both sides of a lane's end are read by two ranks."""
    of = schedule([8] * 300, 24)
    lane_length = 2400 // 24
    order = {row: place // lane_length for place, row in enumerate(of._sequence(0).tolist())}
    foreign = sum(order[row] % 4 != place % 4 for step in range(100) for place, row in enumerate(rows(of, 0, step)))
    assert foreign < 0.2 * 2400


def test_ranks_have_as_many_rows_each() -> None:
    of = schedule([3] * 50, 12)
    for world_size in (size for size in range(1, 13) if math.gcd(24, 12) % size == 0):
        shares = [of.step(0, 0).of_rank(rank, world_size) for rank in range(world_size)]
        assert {len(share.units) for share in shares} == {12 // world_size}
