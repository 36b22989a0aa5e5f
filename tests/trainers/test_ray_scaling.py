from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from unlabeled.pipeline.errors import Interrupted, UnlabeledError
from unlabeled.trainers import ray_scaling
from unlabeled.trainers.ray_scaling import wait_for_room

OF_EACH = {"CPU": 1.0}


@pytest.fixture(scope="module", autouse=True)
def _two_cpus() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_scaling, "_RELEASE_SECONDS", 2.0)
        patch.setattr(ray_scaling, "_POLL_SECONDS", 0.2)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def test_the_most_workers_that_there_is_room_for_are_taken() -> None:
    assert wait_for_room([2, 1], OF_EACH, 60, bool) == 2
    assert wait_for_room([4, 2, 1], OF_EACH, 0, bool) == 2


def test_no_room_is_told_with_the_settings_to_change() -> None:
    with pytest.raises(UnlabeledError, match=r"no room for 3 workers of 1 CPU each.*`run.min_workers`"):
        wait_for_room([4, 3], OF_EACH, 0, bool)


def test_who_is_told_to_stop_waits_no_longer() -> None:
    with pytest.raises(Interrupted):
        wait_for_room([4], OF_EACH, 600, lambda: True)
