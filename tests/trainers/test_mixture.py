"""Exact shares of several datasets."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.mixture import DataShare, MixedSchedule, parse_data, pattern

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6).map(np.array)
SHARES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.5, Fraction(1, 3)]), min_size=2, max_size=4)


@given(shares=SHARES)
def test_a_pattern_holds_exactly_the_shares_and_spreads_them(shares: list[Fraction | float]) -> None:
    found = pattern(shares)
    exact = [Fraction(str(share)) if isinstance(share, float) else share for share in shares]
    for dataset, share in enumerate(exact):
        running = np.cumsum(found == dataset)
        assert Fraction(int(running[-1]), len(found)) == share / sum(exact)
        ideal = np.arange(1, len(found) + 1) * float(share / sum(exact))
        assert np.abs(running - ideal).max() < len(shares)


@given(sizes=st.tuples(SIZES, SIZES), seed=st.integers(0, 99), batch_size=st.sampled_from([4, 10, 12]))
def test_each_dataset_goes_through_its_own_epochs(
    sizes: tuple[np.ndarray, np.ndarray], seed: int, batch_size: int
) -> None:
    of = MixedSchedule(sizes, [0.7, 0.3], batch_size, 24, seed)
    seen: Counter[tuple[int, int]] = Counter()
    num_steps = 12
    for step in range(num_steps):
        batch = of.step(*divmod(step, of.num_steps))
        seen.update(zip(batch.units.tolist(), batch.places.tolist(), strict=True))
        for first, num, total in ((0, len(sizes[0]), sizes[0].sum()), (len(sizes[0]), len(sizes[1]), sizes[1].sum())):
            mine = [
                seen[unit, place]
                for unit in range(first, first + num)
                for place in range([*sizes[0], *sizes[1]][unit])
            ]
            assert len(mine) == total
            assert max(mine) - min(mine) <= 1
    num_first = sum(num for (unit, _), num in seen.items() if unit < len(sizes[0]))
    assert abs(num_first - 0.7 * num_steps * batch_size) < 1


def test_a_rank_reads_mostly_its_own_lanes() -> None:
    sizes = [np.full(30, 40), np.full(30, 40)]
    of = MixedSchedule(sizes, [0.7, 0.3], 48, 24, 0)
    lanes = {}
    for dataset in (0, 1):
        found = of._order(dataset, 0).at(np.arange(1200))
        units = (found.units + 30 * dataset).tolist()
        lanes |= {pair: position % 24 for position, pair in enumerate(zip(units, found.places.tolist(), strict=True))}
    foreign = 0
    for step in range(20):
        mine = of.step(0, step).of_rank(1, 2)
        foreign += sum(lanes[pair] % 2 != 1 for pair in zip(mine.units.tolist(), mine.places.tolist(), strict=True))
    assert foreign < 0.15 * 20 * 24


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["s3://b/a"], [DataShare("s3://b/a")]),
        (["a=b/c"], [DataShare("a=b/c")]),
        (["A=0.7", "B=0.3"], [DataShare("A", Fraction(7, 10)), DataShare("B", Fraction(3, 10))]),
        (["a=b=2", "B=1"], [DataShare("a=b", Fraction(2)), DataShare("B", Fraction(1))]),
    ],
)
def test_data_values_are_parsed(values: list[str], expected: list[DataShare]) -> None:
    assert parse_data(values) == expected


@pytest.mark.parametrize("values", [["A", "B=1"], ["A=0", "B=1"], ["A=-1", "B=2"], ["=1", "B=1"]])
def test_a_share_that_is_missing_or_not_above_zero_is_refused(values: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected DATASET=SHARE"):
        parse_data(values)


def test_shares_that_hardly_repeat_are_refused() -> None:
    with pytest.raises(ConfigError, match="use rounder shares"):
        pattern([0.123457, 0.876543])
