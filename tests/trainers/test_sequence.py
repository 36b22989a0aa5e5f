"""The epoch's arithmetic: every bundle once, the same batches for every number of ranks."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.sequence import Bundles, EpochOrder, PlainSchedule, check_world, keyed_order, world_sizes

UNITS = st.lists(st.integers(1, 40), min_size=1, max_size=30).map(np.array)
SEEDS = st.integers(0, 2**63 - 1)
LANES = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24])


def pairs(bundles: Bundles) -> list[tuple[int, int]]:
    return list(zip(bundles.units.tolist(), bundles.places.tolist(), strict=True))


def divisors(*numbers: int) -> list[int]:
    common = math.gcd(*numbers)
    return [size for size in range(1, common + 1) if common % size == 0]


def test_keyed_order_is_frozen() -> None:
    """Another order would make every run that is resumed with another release a different one."""
    assert keyed_order(8, "units", 0, 0).tolist() == [4, 2, 0, 5, 7, 1, 3, 6]


@given(num_bundles=UNITS, num_lanes=LANES, seed=SEEDS, epoch=st.integers(0, 3))
def test_an_epoch_holds_every_bundle_once(num_bundles: np.ndarray, num_lanes: int, seed: int, epoch: int) -> None:
    order = EpochOrder(num_bundles, num_lanes, seed, epoch)
    found = pairs(order.at(np.arange(order.num_bundles)))
    assert sorted(found) == [(unit, place) for unit, num in enumerate(num_bundles) for place in range(num)]


@given(num_bundles=UNITS, num_lanes=LANES, seed=SEEDS)
def test_a_lane_reads_each_unit_in_one_go(num_bundles: np.ndarray, num_lanes: int, seed: int) -> None:
    order = EpochOrder(num_bundles, num_lanes, seed, 0)
    for lane in range(num_lanes):
        units = order.at(np.arange(lane, order.num_bundles, num_lanes)).units
        assert len(set(units.tolist())) == 1 + np.count_nonzero(np.diff(units)) or not len(units)


@given(
    num_bundles=UNITS, num_lanes=LANES, seed=SEEDS, step_size=st.integers(1, 48), last=st.sampled_from(["drop", "pad"])
)
def test_ranks_of_any_world_share_the_same_batches(
    num_bundles: np.ndarray, num_lanes: int, seed: int, step_size: int, last: str
) -> None:
    assume(last == "pad" or num_bundles.sum() >= step_size)
    schedule = PlainSchedule(num_bundles, step_size, num_lanes, seed, last)
    for step in range(schedule.num_steps):
        batch = schedule.step(1, step)
        for world_size in divisors(num_lanes, step_size):
            shares = [pairs(batch.of_rank(rank, world_size)) for rank in range(world_size)]
            assert {len(share) for share in shares} == {step_size // world_size}
            assert Counter(pair for share in shares for pair in share) == Counter(pairs(batch))


@given(num_bundles=UNITS, num_lanes=LANES, seed=SEEDS, step_size=st.integers(1, 48))
def test_less_than_a_batch_is_dropped_and_the_rest_is_seen_once(
    num_bundles: np.ndarray, num_lanes: int, seed: int, step_size: int
) -> None:
    assume(num_bundles.sum() >= step_size)
    schedule = PlainSchedule(num_bundles, step_size, num_lanes, seed)
    seen = Counter(pair for step in range(schedule.num_steps) for pair in pairs(schedule.step(2, step)))
    assert set(seen.values()) == {1}
    assert len(seen) + schedule.num_dropped == num_bundles.sum()
    assert 0 <= schedule.num_dropped < step_size


@given(num_bundles=UNITS, num_lanes=LANES, seed=SEEDS, step_size=st.integers(1, 48))
def test_padding_repeats_less_than_a_batch_and_loses_nothing(
    num_bundles: np.ndarray, num_lanes: int, seed: int, step_size: int
) -> None:
    assume(num_bundles.sum() >= step_size)
    schedule = PlainSchedule(num_bundles, step_size, num_lanes, seed, "pad")
    seen = Counter(pair for step in range(schedule.num_steps) for pair in pairs(schedule.step(0, step)))
    assert len(seen) == num_bundles.sum()
    assert seen.total() - len(seen) == schedule.num_padded < step_size


@given(num_bundles=UNITS, seed=SEEDS, data=st.data())
def test_a_run_resumed_with_other_ranks_goes_on_without_loss_or_repetition(
    num_bundles: np.ndarray, seed: int, data: st.DataObject
) -> None:
    step_size = 12
    assume(num_bundles.sum() >= step_size)
    schedule = PlainSchedule(num_bundles, step_size, 24, seed)
    stop = data.draw(st.integers(0, schedule.num_steps))
    first, second = (data.draw(st.sampled_from(divisors(24, step_size))) for _ in range(2))
    shares = [
        pair
        for step in range(schedule.num_steps)
        for world_size in [first if step < stop else second]
        for rank in range(world_size)
        for pair in pairs(schedule.step(0, step).of_rank(rank, world_size))
    ]
    assert len(shares) == len(set(shares)) == num_bundles.sum() - schedule.num_dropped


@given(num_bundles=UNITS, seed=SEEDS)
def test_a_rank_reads_its_own_lanes_alone(num_bundles: np.ndarray, seed: int) -> None:
    assume(num_bundles.sum() >= 8)
    schedule = PlainSchedule(num_bundles, 8, 24, seed)
    lanes = {pair: place % 24 for place, pair in enumerate(pairs(schedule.order(0).at(np.arange(num_bundles.sum()))))}
    for step in range(schedule.num_steps):
        for rank in range(4):
            share = pairs(schedule.step(0, step).of_rank(rank, 4))
            assert {lanes[pair] % 4 for pair in share} == {rank}


def test_epochs_and_seeds_differ() -> None:
    orders = [
        pairs(PlainSchedule(np.array([50, 50]), 100, 4, seed).step(epoch, 0)) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4


def test_a_world_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"world_size: found 5, .* 1, 2, 4, 8\."):
        check_world(5, 0, 24, 16)


def test_a_run_goes_on_with_fewer_workers_that_lanes_can_be_dealt_among() -> None:
    assert world_sizes(8, 2, 24, 16) == [8, 4, 2]
    assert world_sizes(8, 8, 24, 16) == [8]


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank: found 2, expected 0 to 1"):
        check_world(2, 2, 24, 16)


def test_a_batch_larger_than_the_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 11 bundles is more than the 10"):
        PlainSchedule(np.array([4, 6]), 11, 24, 0)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="no examples"):
        PlainSchedule(np.array([], np.int64), 1, 24, 0, "pad")
