from __future__ import annotations

import pytest
from unlabeled.trainers.schedule import CosineSchedule


@pytest.mark.parametrize(
    ("num_seen", "expected"), [(0, 0.0), (50, 0.1), (100, 0.2), (550, 0.11), (1000, 0.02), (2000, 0.02)]
)
def test_it_rises_then_falls_by_half_a_cosine_to_its_floor(num_seen: int, expected: float) -> None:
    schedule = CosineSchedule(0.2, 1000, warmup_fraction=0.1, final_fraction=0.1)
    assert schedule.at(num_seen) == pytest.approx(expected)


def test_without_warm_up_it_begins_at_the_peak() -> None:
    assert CosineSchedule(0.2, 1000, warmup_fraction=0).at(0) == 0.2
