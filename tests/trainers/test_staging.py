from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from unlabeled.trainers.data import Batch
from unlabeled.trainers.staging import staged

CPU = torch.device("cpu")


def batches(num: int, closed: list[bool] | None = None) -> Iterator[Batch]:
    try:
        for step in range(num):
            yield Batch(step, 0, ("a", "b"), {"x": np.full(2, step)})
    finally:
        if closed is not None:
            closed.append(True)


def columns(batch: Batch) -> dict[str, Any]:
    return dict(batch.columns)


def test_batches_come_in_order_as_tensors() -> None:
    found = list(staged(batches(5), columns, CPU))
    assert [batch.step for batch in found] == list(range(5))
    assert found[3].tensors["x"].tolist() == [3, 3]


def test_what_arranging_raises_reaches_the_consumer() -> None:
    def arrange(batch: Batch) -> dict[str, Any]:
        if batch.step == 2:
            raise ValueError("no such mask")
        return dict(batch.columns)

    with pytest.raises(ValueError, match="no such mask"):
        list(staged(batches(5), arrange, CPU))


def test_leaving_early_ends_the_thread_and_closes_the_source() -> None:
    closed: list[bool] = []
    before = threading.active_count()
    feed = staged(batches(10**6, closed), columns, CPU)
    next(feed)
    feed.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert threading.active_count() == before


def test_read_only_arrays_are_taken_too() -> None:
    array = np.zeros(2)
    array.flags.writeable = False
    (found,) = staged(iter([Batch(0, 0, ("a", "b"), {"x": array})]), columns, CPU)
    assert found.tensors["x"].tolist() == [0, 0]


@pytest.mark.gpu
def test_on_a_gpu_copies_are_complete_when_a_batch_is_handed_over() -> None:
    device = torch.device("cuda", 0)
    large = (Batch(step, 0, ("a",), {"x": np.full((1, 2**24), step, np.float32)}) for step in range(20))
    for batch in staged(large, columns, device):
        assert batch.tensors["x"].device == device
        assert bool((batch.tensors["x"] == batch.step).all())
