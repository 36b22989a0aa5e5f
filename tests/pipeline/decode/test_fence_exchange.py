"""One request to a child, from the first word to the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unlabeled.pipeline.cpu_stages import StageClock
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.fence_calls import memory_bytes_for
from unlabeled.pipeline.decode.fence_exchange import Exchange, Lost
from unlabeled.pipeline.decode.fence_process import ChildProcess
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Reject, RejectReason

from tests.hostile_handlers import DECODERS


@pytest.fixture(scope="module")
def idle() -> Iterator[ChildProcess]:
    child = ChildProcess(Limits(), DecodeOptions(), memory_bytes_for(Limits()), DECODERS)
    child.wait_until_ready()
    yield child
    child.kill()


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    """A child that the test may lose."""
    child = ChildProcess(Limits(), DecodeOptions(), memory_bytes_for(Limits()), DECODERS)
    child.wait_until_ready()
    yield child
    child.kill()


def exchange(child: ChildProcess, *, max_compute_seconds: float = 60, max_output_bytes: int = 1 << 20) -> Exchange:
    return Exchange(
        child,
        MemoryBytes(b"data"),
        max_compute_seconds=max_compute_seconds,
        max_output_bytes=max_output_bytes,
        clock=StageClock(),
    )


def test_it_is_complete_when_the_last_word_is_said(idle: ChildProcess) -> None:
    one = exchange(idle)
    assert not one.is_complete
    assert len(list(one.run("count", {"num_items": 2}, is_new=True))) == 2
    assert one.is_complete


def test_it_is_complete_after_a_verdict_and_after_an_early_stop(idle: ChildProcess) -> None:
    one, other = exchange(idle), exchange(idle)
    with pytest.raises(Reject):
        next(one.run("verdict", {}, is_new=True))
    items = other.run("count", {"num_items": 5}, is_new=True)
    next(items)
    items.close()
    assert one.is_complete
    assert other.is_complete


@pytest.mark.parametrize("handler", ["greedy", "nonsense", "leave"])
def test_a_lost_child_leaves_it_incomplete(child: ChildProcess, handler: str) -> None:
    one = exchange(child)
    with pytest.raises(Lost) as caught:
        next(one.run(handler, {}, is_new=True))
    assert caught.value.reject.reason is RejectReason.DECODER_CRASH
    assert not one.is_complete


def test_output_is_counted_over_all_items(child: ChildProcess) -> None:
    one = exchange(child, max_output_bytes=250)
    items = one.run("count", {"num_items": 5, "item_bytes": 100}, is_new=True)
    next(items)
    next(items)
    with pytest.raises(Reject) as caught:
        next(items)
    assert caught.value.reason is RejectReason.LIMIT_OUTPUT
    assert not one.is_complete
