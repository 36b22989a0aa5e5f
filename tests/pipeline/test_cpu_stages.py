"""CPU seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from unlabeled.pipeline.cpu_stages import STAGES, StageClock, as_stats, from_stats


def burn() -> None:
    started = time.thread_time()
    while time.thread_time() - started < 0.01:
        pass


def test_a_stage_within_another_does_not_count_for_the_outer_one() -> None:
    clock = StageClock()
    assert clock.enter("transform") == "other"
    assert clock.enter("fence") == "transform"
    burn()
    clock.enter("transform")
    lap = clock.lap()
    assert lap["fence"] >= 0.01 > lap["transform"]


def test_making_items_counts_for_their_stage_and_using_them_does_not() -> None:
    def items() -> Iterator[int]:
        burn()
        yield 1

    clock = StageClock()
    for _ in clock.each("read", items()):
        made = clock.lap()
    assert made["read"] >= 0.01
    assert clock.lap()["read"] < 0.01


def test_an_error_ends_the_stage() -> None:
    def broken() -> Iterator[int]:
        raise KeyError
        yield 1

    clock = StageClock()
    with pytest.raises(KeyError):
        list(clock.each("read", broken()))
    assert clock.enter("read") == "other"


def test_stats_hold_the_stages_and_their_sum() -> None:
    seconds = dict.fromkeys(STAGES, 0.5)
    stats = as_stats(seconds)
    assert stats["cpu_seconds"] == 0.5 * len(STAGES)
    assert from_stats(stats) == seconds
