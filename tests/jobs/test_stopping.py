from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from unlabeled.jobs.stopping import grace_seconds
from unlabeled.pipeline.errors import ConfigError

#: Gives out ten shards of half a second each; one that is in hand when told to stop is the last.
CODE = """
import sys, time
from types import SimpleNamespace
from unlabeled.jobs import stopping
from unlabeled.pipeline.errors import Interrupted

stop, slow = [], float(sys.argv[1])
def execute(targets, units):
    for unit in units:
        if stop:
            return
        print("in hand", flush=True)
        begun = time.monotonic()
        while time.monotonic() - begun < slow:
            time.sleep(0.05)
        yield unit

stopping.STOPPING.install()
made = 0
try:
    for row in stopping.Draining(execute, [lambda: stop.append(1)])([], [SimpleNamespace(jobs=[0])] * 10):
        made += 1
except Interrupted as error:
    print(made, error)
except stopping.Stopped:
    print(made, "at once")
"""


def run_and_signal(slow_seconds: float, *signals: int, grace_seconds: str = "20") -> str:
    env = {**os.environ, "UNLABELED_STOP_GRACE_SECONDS": grace_seconds}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(slow_seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    process.stdout.readline()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    return process.communicate(timeout=60)[0].strip().splitlines()[-1]


def test_what_is_in_hand_is_finished_and_nothing_new_begun() -> None:
    assert run_and_signal(0.5, signal.SIGTERM) == "1 stopped with 9 shards left; run the same command again to resume."


@pytest.mark.parametrize(
    ("signals", "grace"),
    [
        ((signal.SIGINT,), "20"),
        ((signal.SIGTERM, signal.SIGTERM), "20"),
        ((signal.SIGTERM,), "0.3"),
        ((signal.SIGTERM,), "0"),
    ],
    ids=["ctrl-c", "a second signal", "grace is over", "no grace"],
)
def test_it_ends_at_once(signals: tuple[int, ...], grace: str) -> None:
    assert run_and_signal(60, *signals, grace_seconds=grace) == "0 at once"


def test_a_grace_time_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLABELED_STOP_GRACE_SECONDS", "soon")
    with pytest.raises(ConfigError, match="found 'soon', expected seconds"):
        grace_seconds()
