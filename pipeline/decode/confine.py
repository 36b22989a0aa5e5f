"""Take away from a process what a decoder does not need: for the child of a fence, before it sees untrusted bytes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

_MAX_OPEN_FILES = 32
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 64 << 20))


def confine(parent_pid: int, memory_bytes: int) -> None:
    """Limit this process for good: it dies with its parent, writes no file, dumps no core and gains no privilege.

    Args:
        parent_pid: the parent; where it is gone already, this process ends.
        memory_bytes: address space.

    The descriptors in use must have numbers below 32.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # gone before the line above took effect
        os._exit(0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    warnings.simplefilter("ignore")


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory for what comes next, in one arena (each takes 64 MB of addresses).

    Giving a picture's 750 kB back and taking it again, page by page, takes a third of the time of a photograph.
    """
    libc = ctypes.CDLL(None)
    for parameter, value in _MALLOC:
        libc.mallopt(parameter, value)


class FileGate:
    """While it is shut, which it is from the start, this process can open neither file nor socket.

    Every number below the soft limit on descriptors is taken, so that the kernel has none to give: a decoder that is
    talked into following a playlist or a path fails there, whatever its own options say. The limit could be raised
    again by code of our own, and is for imports; it does not hold machine code that an attacker has smuggled in.
    """

    def __init__(self) -> None:
        self._num_taken = 1 + max(int(descriptor.name) for descriptor in Path("/proc/self/fd").iterdir())
        while (filler := os.dup(0)) < self._num_taken:
            pass
        os.close(filler)
        self._shut()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Let files be opened meanwhile."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
        try:
            yield
        finally:
            self._shut()

    def _shut(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._num_taken, _MAX_OPEN_FILES))
