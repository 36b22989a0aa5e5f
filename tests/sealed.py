"""Run code that the kernel ends at once if it opens a file or makes a socket: the proof that it does neither.

`python -m tests.sealed package.module:function` calls function(bytes of stdin) under a seccomp filter and writes what
it returns. The function is called once before, on b"", so that libraries have loaded what they load at first use. The
process dies by SIGSYS on open, openat, openat2, socket, connect, bind, sendto, execve and fork.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_SYSCALLS = {
    "x86_64": (0xC000003E, (2, 257, 437, 41, 42, 49, 44, 59, 322, 57, 58)),
    "aarch64": (0xC00000B7, (56, 437, 198, 203, 200, 206, 221, 281)),
}
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
KILLED = -signal.SIGSYS


def run_sealed(function: str, data: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run `function` on `data` in a sealed process that works in `folder`; skips where the kernel has no seals."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-m", "tests.sealed", function]
    result = subprocess.run(
        command, input=data, cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )
    if result.returncode == 77:
        pytest.skip("the kernel has no seccomp filters")
    return result


def _seal() -> None:
    architecture, numbers = _SYSCALLS[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_IF_EQUAL, 0, len(numbers) + 1, architecture),
        (_LOAD, 0, 0, 0),  # the number of the system call
        *((_JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0):
        os._exit(77)


def _main() -> None:
    data = sys.stdin.buffer.read()
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    function(b"")
    _seal()
    os.write(1, function(data))
    os._exit(0)


if __name__ == "__main__":
    _main()
