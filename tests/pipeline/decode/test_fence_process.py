"""The parent's hold on a child."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from unlabeled.pipeline.decode.fence_process import ChildProcess
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import ConfigError, RejectReason

MEMORY_BYTES = 1 << 30


def start() -> ChildProcess:
    return ChildProcess(Limits(), DecodeOptions(), MEMORY_BYTES, {})


def test_a_child_is_started_measured_and_killed() -> None:
    child = start()
    child.wait_until_ready()
    child.wait_until_ready()
    assert child.is_alive()
    assert 10 << 20 < child.peak_rss_bytes() < 200 << 20
    assert 0 < child.cpu_seconds() < 60
    child.kill()
    child.kill()
    assert not Path(f"/proc/{child.pid}").exists()
    assert (child.peak_rss_bytes(), child.cpu_seconds()) == (0, 0.0)


@pytest.mark.parametrize(
    ("number", "reason", "message"),
    [
        (signal.SIGKILL, RejectReason.DECODER_MEMORY, "killed"),
        (signal.SIGSEGV, RejectReason.DECODER_CRASH, "SIGSEGV"),
        (signal.SIGTERM, RejectReason.DECODER_CRASH, "SIGTERM"),
    ],
)
def test_it_says_how_a_child_died(number: signal.Signals, reason: RejectReason, message: str) -> None:
    child = start()
    child.wait_until_ready()
    os.kill(child.pid, number)
    found = child.died()
    assert found[0] is reason
    assert message in found[1]
    child.kill()


def test_too_little_memory_to_start_is_an_error_of_the_settings() -> None:
    child = ChildProcess(Limits(), DecodeOptions(), 60 << 20, {})
    with pytest.raises(ConfigError, match="does not start"):
        child.wait_until_ready()
    child.kill()


def test_starting_does_not_wait() -> None:
    started = time.process_time()
    child = start()
    assert time.process_time() - started < 0.1
    child.kill()
