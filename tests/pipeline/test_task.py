from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.task import setting

from tests import samples
from tests.small_datasets import Neighbours, Tiny, picture


@dataclass(frozen=True)
class Bounded(Tiny):
    side_px: int = setting(32, "side", unit="px", at_least=16, at_most=64, multiple_of=16)
    scales: tuple[float, ...] = setting((0.5, 1.0), "scales", at_least=0.25, at_most=1)


@pytest.mark.parametrize("settings", [{}, {"side_px": 16}, {"side_px": 64}, {"scales": (0.25,)}, {"scales": ()}])
def test_settings_within_their_bounds(settings: dict[str, Any]) -> None:
    assert Bounded(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side_px": 0}, "`side_px` must be at least 16, but is 0"),
        ({"side_px": 80}, "`side_px` must be at most 64, but is 80"),
        ({"side_px": 40}, "`side_px` must be a multiple of 16, but is 40"),
        ({"scales": (0.5, 1.5)}, "`scales` must be at most 1, but is 1.5"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bounded(**settings)


def test_the_name_is_that_of_the_file() -> None:
    assert Tiny.name() == "small_datasets"
    assert Bounded.name() == "test_task"


def test_what_a_plain_task_is_by_default() -> None:
    task = Tiny()
    assert (task.batching, task.bundle_size, task.num_partners) == ("any", 1, 0)
    assert task.estimate_num_bytes(1234) == 1234
    assert task.make_assets(lambda: [picture()]) == {}
    assert task.with_assets({}) is task


def test_a_task_without_video_asks_for_no_clips() -> None:
    with pytest.raises(NotImplementedError, match="Tiny does not read video"):
        Tiny().requests(samples.video_info(), ItemRng(0, "tiny", "a"))


def test_a_task_without_a_second_opinion_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Tiny has no rederive"):
        Tiny().rederive({}, picture())


def test_a_setting_is_documented() -> None:
    field = Bounded.__dataclass_fields__["side_px"]
    assert field.default == 32
    assert dict(field.metadata) == {"doc": "side", "unit": "px", "at_least": 16, "at_most": 64, "multiple_of": 16}


def test_tasks_with_equal_settings_are_equal() -> None:
    assert Neighbours(num_negatives=2) == Neighbours(num_negatives=2) != Neighbours(num_negatives=3)
