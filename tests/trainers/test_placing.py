from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.trainers.placing import Machine, cpus_for_each, num_places


@pytest.mark.parametrize(
    ("cpus", "num_workers", "each"),
    [
        ([2], 1, 2),
        ([2], 2, 1),
        ([1], 2, 1),
        # One CPU of the first is the driver's: two would fit in sum, and nowhere.
        ([1, 1], 1, 1),
        ([3, 3], 3, 1),
        ([4, 4], 3, 2),
        ([8, 2], 2, 4),
        ([], 1, 1),
    ],
)
def test_each_worker_gets_what_fits_on_one_machine(cpus: list[int], num_workers: int, each: int) -> None:
    assert cpus_for_each([Machine(num) for num in cpus], num_workers) == each


def test_workers_with_gpus_stand_where_gpus_are() -> None:
    machines = [Machine(64), Machine(16, 2)]
    assert cpus_for_each(machines, 2, gpus_per_worker=1) == 8
    assert num_places(machines, 1, gpus_per_worker=1) == 2


@given(st.lists(st.integers(0, 16), min_size=1, max_size=4), st.integers(1, 8))
def test_more_for_each_would_not_fit(cpus: list[int], num_workers: int) -> None:
    machines = [Machine(num) for num in cpus]
    each = cpus_for_each(machines, num_workers)
    assert num_places(machines, each + 1) < num_workers
