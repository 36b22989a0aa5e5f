from __future__ import annotations

import numpy as np
from unlabeled.pipeline.audit.families.family import combined, log_ratio


def test_one_part_stays_as_it_is_and_none_gives_nothing() -> None:
    assert combined([[1.0, 2.0]]).tolist() == [1, 2]
    assert combined([]).tolist() == []


def test_two_parts_give_their_difference_and_its_size() -> None:
    assert combined([[1.0], [3.0]]).tolist() == [1, 3, -2, 2]


def test_many_parts_tell_a_saw_tooth_from_its_reverse() -> None:
    teeth = np.asarray([[3.0], [2], [1], [0], [3], [2], [1], [0]])
    forward, backward = combined(teeth)[-1], combined(teeth[::-1])[-1]
    assert forward == -backward != 0


def test_very_many_parts_are_told_by_their_shape_alone() -> None:
    assert len(combined(np.zeros((100, 4)))) == 4 * 4


def test_a_ratio_of_nothing_is_finite() -> None:
    assert log_ratio(0.0, 0.0) == 0
    assert log_ratio(1e9, 0.0) == 14
