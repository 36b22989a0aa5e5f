"""Requests to stop; the runs themselves stand in tests/test_pretrain_command.py."""

from __future__ import annotations

import os
import signal

import pytest
from unlabeled.jobs.pretrain import stop_requests


def test_the_first_signal_asks_and_the_second_acts_as_before() -> None:
    class Ended(Exception):
        pass

    def end(*_: object) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with stop_requests() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert should_stop()
            with pytest.raises(Ended):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
