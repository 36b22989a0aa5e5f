"""Calls to a fence's child: verdicts, crashes, hangs, memory, second tries, streams, reuse."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import pytest
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.fence_calls import FenceCalls, memory_bytes_for
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import ConfigError, Reject, RejectReason, StoreError

from tests.hostile_handlers import DECODERS


class Ranged:
    """A source that is not in memory, as the fence sees it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads: list[tuple[int, int]] = []

    @property
    def num_bytes(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self._data[offset : offset + length]


def rejected(fence: FenceCalls, handler: str) -> Reject:
    with pytest.raises(Reject) as caught:
        fence.call(handler, b"data")
    return caught.value


def works(fence: FenceCalls) -> bool:
    return fence.call("echo", b"abc").arrays[0].tobytes() == b"abc"


@pytest.mark.parametrize("num_bytes", [1, 1000, 5 << 20])
def test_bytes_and_arrays_cross_the_fence(fence: FenceCalls, num_bytes: int) -> None:
    data = os.urandom(num_bytes)
    answer = fence.call("echo", data)
    assert answer.header == {"num_bytes": num_bytes}
    assert answer.arrays[0].tobytes() == data


@pytest.mark.parametrize(
    ("handler", "reason", "message"),
    [
        ("crash", "decoder_crash", "SIGSEGV"),
        ("abort", "decoder_crash", "invalid pointer"),
        ("leave", "decoder_crash", "exit status 3"),
        ("nonsense", "decoder_crash", "a surprise"),
        ("beyond", "decoder_crash", "outside of its block"),
        ("killed", "decoder_memory", "killed"),
    ],
)
def test_a_lost_child_is_a_transient_reject_after_two_tries(
    fence: FenceCalls, handler: str, reason: str, message: str
) -> None:
    assert works(fence)
    before = fence.num_children
    reject = rejected(fence, handler)
    assert (reject.reason, reject.is_permanent) == (reason, False)
    assert message in reject.message
    assert fence.num_children == before + 1
    assert works(fence)
    assert fence.num_children == before + 2


def test_a_verdict_is_passed_on_and_the_child_lives(fence: FenceCalls) -> None:
    assert works(fence)
    before = fence.pid
    reject = rejected(fence, "verdict")
    assert (reject.reason, reject.message, reject.offset_bytes) == (RejectReason.CORRUPT, "damaged", 7)
    assert rejected(fence, "unknown").reason is RejectReason.UNKNOWN
    assert works(fence)
    assert fence.pid == before


@pytest.mark.parametrize("handler", ["hang", "hang_while_reading"])
def test_a_hang_is_ended(handler: str) -> None:
    with FenceCalls(decoders=DECODERS, hang_seconds=0.3) as fence:
        fence.start()
        with pytest.raises(Reject) as caught:
            fence.call(handler, Ranged(b"data"))
        assert caught.value.reason is RejectReason.DECODER_HANG
        assert fence.num_children == 2


def test_waiting_for_the_store_is_no_hang() -> None:
    class Slow(Ranged):
        def read(self, offset: int, length: int) -> bytes:
            time.sleep(0.6)
            return super().read(offset, length)

    with FenceCalls(decoders=DECODERS, hang_seconds=0.5) as fence:
        assert fence.call("echo", Slow(b"abc")).arrays[0].tobytes() == b"abc"


def test_memory_is_limited() -> None:
    with FenceCalls(decoders=DECODERS, memory_bytes=400 << 20) as fence:
        reject = rejected(fence, "fill_memory")
        assert (reject.reason, reject.is_permanent) == (RejectReason.DECODER_MEMORY, False)
        assert 100 << 20 < fence.peak_rss_bytes < 400 << 20
        assert works(fence)


def test_memory_suffices_for_what_the_limits_allow() -> None:
    assert memory_bytes_for(Limits(max_pixels=1)) < memory_bytes_for(Limits()) < 4 << 30


def test_a_child_that_died_while_idle_costs_no_try(fence: FenceCalls) -> None:
    assert works(fence)
    assert fence.pid is not None
    os.kill(fence.pid, signal.SIGKILL)
    time.sleep(0.1)
    before = fence.num_children
    assert rejected(fence, "crash").reason is RejectReason.DECODER_CRASH
    assert fence.num_children == before + 2


def test_empty_and_too_large_sources_never_reach_the_child() -> None:
    with FenceCalls(Limits(max_source_bytes=10), decoders=DECODERS) as fence:
        for data, reason in ((b"", RejectReason.EMPTY), (bytes(11), RejectReason.LIMIT_BYTES)):
            with pytest.raises(Reject) as caught:
                fence.call("echo", data)
            assert caught.value.reason is reason
        assert fence.num_children == 0


def test_what_a_source_hands_on_is_limited() -> None:
    with FenceCalls(Limits(max_output_bytes=1000), decoders=DECODERS) as fence:
        assert len(list(fence.stream("count", b"data", num_items=10, item_bytes=100))) == 10
        with pytest.raises(Reject) as caught:
            list(fence.stream("count", b"data", num_items=11, item_bytes=100))
        assert caught.value.reason is RejectReason.LIMIT_OUTPUT
        with pytest.raises(Reject) as caught:
            fence.call("echo", bytes(3 << 20))
        assert caught.value.reason is RejectReason.LIMIT_OUTPUT
        assert works(fence)


def test_a_source_that_is_not_in_memory_is_read_in_blocks(fence: FenceCalls) -> None:
    data = os.urandom(3_000_000)
    source = Ranged(data)
    assert (
        fence.call("read", source, offset=1_500_000, length=100_000).arrays[0].tobytes() == data[1_500_000:1_600_000]
    )
    assert source.reads == [(1 << 20, 1 << 20)]
    assert fence.call("echo", source).arrays[0].tobytes() == data


def test_an_error_of_the_store_passes_through(fence: FenceCalls) -> None:
    class Down(Ranged):
        def read(self, offset: int, length: int) -> bytes:
            raise StoreError("the store is down")

    with pytest.raises(StoreError):
        fence.call("echo", Down(b"abc"))
    assert works(fence)


def test_a_stream_yields_items_and_returns_the_last_answer(fence: FenceCalls) -> None:
    items = fence.stream("count", b"data", num_items=3)
    assert [next(items).header["number"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value.header == {"all": True}


def test_a_stream_may_be_left_early(fence: FenceCalls) -> None:
    for item in fence.stream("count", b"data", num_items=1000):
        if item.header["number"] == 2:
            break
    before = fence.pid
    assert works(fence)
    assert fence.pid == before


def test_a_stream_goes_on_in_a_fresh_child(fence: FenceCalls) -> None:
    numbers, pids = [], set()
    for item in fence.stream("count", b"data", num_items=6):
        numbers.append(item.header["number"])
        pids.add(item.header["pid"])
        if numbers == [0, 1, 2]:
            os.kill(item.header["pid"], signal.SIGSEGV)
    assert numbers == list(range(6))
    assert len(pids) == 2


def test_a_call_in_the_middle_of_a_stream_is_refused(fence: FenceCalls) -> None:
    items = fence.stream("count", b"data", num_items=3)
    next(items)
    with pytest.raises(RuntimeError, match="in the middle of a stream"):
        fence.call("echo", b"abc")
    items.close()
    assert works(fence)


def test_what_was_opened_is_opened_again_where_need_be(fence: FenceCalls) -> None:
    opened = fence.open("keep", b"first")
    assert fence.ask(opened, "kept").header == {"kept": "first"}
    other = fence.open("keep", b"second")
    assert fence.ask(opened, "kept").header == {"kept": "first"}
    assert fence.pid is not None
    os.kill(fence.pid, signal.SIGKILL)
    assert fence.ask(other, "kept").header == {"kept": "second"}


def test_nothing_is_kept_of_the_last_source(fence: FenceCalls) -> None:
    fence.open("keep", b"first")
    assert fence.call("kept", b"second").header == {"kept": None}


def test_what_the_child_writes_to_stderr_does_not_stop_it(fence: FenceCalls) -> None:
    for _ in range(3):
        fence.call("chatter", b"data")
    assert works(fence)


def test_cpu_time_and_peak_memory_outlive_the_child(fence: FenceCalls) -> None:
    assert works(fence)
    before = fence.cpu_seconds, fence.peak_rss_bytes
    assert before[0] > 0
    assert before[1] > 20 << 20
    fence.close()
    assert fence.cpu_seconds >= before[0]
    assert fence.peak_rss_bytes >= before[1]


def test_no_descriptor_and_no_process_is_left_behind() -> None:
    num_deaths = 6
    with FenceCalls(decoders=DECODERS) as fence:
        works(fence)
        gc.collect()  # what earlier tests dropped must not be closed while this one counts
        before = _descriptors()
        for _ in range(num_deaths):
            rejected(fence, "leave")
            works(fence)
        assert _descriptors() - before < num_deaths  # threads that earlier tests left may open a few of their own
        pid = fence.pid
    assert not Path(f"/proc/{pid}").exists()
    fence.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_child_that_cannot_start_is_no_source_s_fault() -> None:
    with (
        FenceCalls(decoders={"none": "no.such.module:function"}) as fence,
        pytest.raises(ConfigError, match="does not start"),
    ):
        fence.call("none", b"data")


def test_sources_in_memory_may_be_larger_than_the_shared_block(fence: FenceCalls) -> None:
    data = os.urandom(1 << 20) * 65
    answer = fence.call("read", MemoryBytes(data), offset=64 << 20, length=1000)
    assert answer.arrays[0].tobytes() == data[64 << 20 :][:1000]
