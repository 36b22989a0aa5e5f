"""What a fence's child is and may do, seen from outside and tried from inside."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from unlabeled.pipeline.decode.fence import Fence

from tests.hostile_handlers import DECODERS


@pytest.fixture
def pid(fence: Fence) -> int:
    fence.call("echo", b"abc")
    assert fence.pid is not None
    return fence.pid


def test_its_environment_is_empty(pid: int) -> None:
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def test_it_is_no_fork_of_this_process(pid: int) -> None:
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert command[0] == sys.executable
    assert "unlabeled.pipeline.decode.fence_child" in command[command.index("-c") + 1]


def test_it_stands_at_the_root_and_in_this_process_group(fence: Fence, pid: int) -> None:
    around = fence.call("surroundings", b"data").header
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert around["cwd"] == "/"
    assert around["group"] == os.getpgid(0)


def test_its_limits_are_set(fence: Fence, pid: int) -> None:
    memory = resource.prlimit(pid, resource.RLIMIT_AS)
    assert memory == (fence.memory_bytes, fence.memory_bytes)
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft <= 16
    assert hard == 32


def test_it_has_one_thread_and_gains_no_privilege(pid: int) -> None:
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nThreads:\t1\n" in status
    assert "\nNoNewPrivs:\t1\n" in status


def test_a_parent_with_many_files_makes_no_difference() -> None:
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
    with Fence(decoders=DECODERS) as other:
        assert other.call("echo", bytes(5 << 20)).header == {"num_bytes": 5 << 20}
        assert other.pid is not None
        assert resource.prlimit(other.pid, resource.RLIMIT_NOFILE)[0] <= 16
    for file in files:
        os.close(file)


def test_it_holds_none_of_our_files(pid: int, tmp_path: Path) -> None:
    path = tmp_path / "ours"
    with path.open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        with Fence(decoders=DECODERS) as other:
            other.call("echo", b"abc")
            held = {str(one.readlink()) for one in Path(f"/proc/{other.pid}/fd").iterdir()}
    assert str(path) not in held


@pytest.mark.parametrize("what", ["read", "write", "list", "socket", "pipe"])
def test_it_can_open_neither_file_nor_socket(fence: Fence, what: str, tmp_path: Path) -> None:
    assert fence.call("attempt", b"data", what=what, path=str(tmp_path)).header == {"errno": errno.EMFILE}


def test_it_can_write_no_file_even_with_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "written"
    with Fence(decoders=DECODERS) as fence:
        answer = fence.call("attempt", b"data", what="write with descriptors", path=str(path))
    assert answer.header == {"errno": errno.EFBIG}
    assert path.read_bytes() == b""


def test_it_ignores_the_keyboard(fence: Fence, pid: int) -> None:
    os.kill(pid, signal.SIGINT)
    assert fence.call("echo", b"abc").arrays[0].tobytes() == b"abc"
    assert fence.pid == pid


PARENT = """
import sys
from unlabeled.pipeline.decode.fence import Fence
fence = Fence(decoders={"hang": sys.argv[1]})
fence.start()
fence._ready_child()
print(fence.pid, flush=True)
fence.call("hang", b"data") if sys.argv[2] == "busy" else sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_it_dies_with_its_parent(state: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, DECODERS["hang"], state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = int(parent.stdout.readline())
    time.sleep(0.1)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
