from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import ctypes, sys, time
from unlabeled.pipeline.hang_watch import HangWatch
with HangWatch(float(sys.argv[1]) or None) as watch:
    watch.begin(int(sys.argv[2]))
    {body}
print("lives", flush=True)
"""
#: Sleeps in C without giving the interpreter's lock back: no thread of Python can end it.
_HOLDING_THE_LOCK = "ctypes.PyDLL(None).sleep(300)"
SLEEPING = "time.sleep(300)"


def run(body: str, seconds: float = 0.1, num_bytes: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE.format(body=body), str(seconds), str(num_bytes)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("body", [SLEEPING, _HOLDING_THE_LOCK], ids=["python", "c"])
def test_a_hang_ends_the_process_and_says_where_it_stood(body: str) -> None:
    done = run(body)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert 'File "<string>"' in done.stderr


@pytest.mark.parametrize(
    ("body", "seconds", "num_bytes"),
    [
        ("time.sleep(2)", 0, 0),
        ("time.sleep(2)", 0.1, 100 * 2**20),
        ("watch.pause(); time.sleep(2)", 0.1, 0),
        ("pass", 0.1, 0),
    ],
    ids=["no limit", "a large source", "paused", "done in time"],
)
def test_nothing_else_ends_it(body: str, seconds: float, num_bytes: int) -> None:
    assert run(body, seconds, num_bytes).stdout == "lives\n"


def test_after_it_nothing_is_watched() -> None:
    done = run("pass\ntime.sleep(2)", 0.1)
    assert done.stdout == "lives\n"
