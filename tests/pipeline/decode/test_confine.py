"""The file gate, in a process of its own; what `confine` does is tried in test_fence_child."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import errno, os, resource
from unlabeled.pipeline.decode.confine import FileGate
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
holes = [os.dup(0) for _ in range(4)]
os.close(holes[1])

def can_open():
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
        return False
    return True

gate = FileGate()
assert not can_open()
with gate.opened():
    assert can_open()
assert not can_open()
os.close(holes[2])
os.dup(0)
assert not can_open()
"""


def test_no_descriptor_is_left_while_the_gate_is_shut() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr.decode()
