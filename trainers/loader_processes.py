"""Processes beside the training that read and decode.

Threads that decode hold the interpreter's lock between two pictures; a training that launches kernels from the same
interpreter then waits for the lock, not for data: an H200 was fed at 0.42 of what it could train. So each process here
loads a share of this rank's share, as if it were a rank of its own; the shares are put together in shared memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Self

from ..pipeline import errors
from ..pipeline.decode.fence_protocol import Message
from ..pipeline.decode.shared_block import SharedBlock
from ..pipeline.errors import UnlabeledError
from .shared_columns import view_columns

#: Blocks of a process: one is read while the next is written.
NUM_BLOCKS = 2
_BOOTSTRAP = (
    "import sys; sys.path.extend(path for path in sys.argv[4:] if path not in sys.path); "
    "from unlabeled.trainers.loader_child import main; "
    "main(*map(int, sys.argv[1:4]))"
)

#: Step, epoch, ids and columns of one process's share of a batch; arrays are views, good until the next is taken.
Share = tuple[int, int, list[str], dict[str, Any]]


class LoaderProcessDied(UnlabeledError):
    """A process that loads is gone, killed by a signal or for want of memory: the same command goes on."""


class LoaderProcesses:
    """Processes that make the batches of one rank together. Use it as a context manager, from one thread.

    Args:
        orders: what each process loads, as `loader_child` reads it.
    """

    def __init__(self, orders: Sequence[Mapping[str, Any]]) -> None:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as starting:
            self._processes = [starting.enter_context(_Process(order)) for order in orders]
            self._stack = starting.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shares(self) -> Iterator[list[Share]]:
        """Yield the shares of each batch in the order of the processes, to the end of what they were told to load.

        Raises:
            UnlabeledError: what loading raised, of its own class.
            LoaderProcessDied: a process is gone.
        """
        while True:
            shares = [process.take() for process in self._processes]
            whole = [share for share in shares if share is not None]
            if len(whole) < len(shares):
                return
            yield whole
            for process in self._processes:
                process.give_back()


class _Process:
    """One of them. It ends by itself once this end of its connection is closed."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._blocks = [SharedBlock.create("unlabeled-loader") for _ in range(NUM_BLOCKS)]
        self._connection, theirs = Pipe()
        self._num_taken = 0
        descriptors = (theirs.fileno(), *(block.descriptor for block in self._blocks))
        paths = [path for path in sys.path if Path(path).is_absolute()]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP, *map(str, descriptors), *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=descriptors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._connection.send_bytes(json.dumps(order).encode())
        for _ in self._blocks:
            self.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
        for block in self._blocks:
            # Where an error is on its way up, its traceback may hold views; the block goes when they do.
            with contextlib.suppress(BufferError):
                block.close()

    def take(self) -> Share | None:
        """Return the next share, None after the last."""
        message = self._receive()
        if "error" in message:
            raise _as_raised(*message["error"])
        if "columns" not in message:
            return None
        block = self._blocks[self._num_taken % NUM_BLOCKS]
        self._num_taken += 1
        block.attach_again(message["num_bytes"])
        return message["step"], message["epoch"], message["ids"], view_columns(block, message)

    def give_back(self) -> None:
        """Let the process write to the block that was taken longest ago."""
        # One that has ended has said so, or will be found dead when its next share is taken.
        with contextlib.suppress(OSError):
            self._connection.send_bytes(b"")

    def _receive(self) -> Message:
        try:
            message: Message = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            code = self._process.wait()
            raise LoaderProcessDied(
                f"a process that loads batches ended with status {code}"
                f"{' (out of memory?)' if code == -9 else ''}; what it wrote stands above."
            ) from None
        return message


def _as_raised(name: str, message: str) -> UnlabeledError:
    """Return what a process raised, as the class of that name."""
    kind = getattr(errors, name)
    if not issubclass(kind, UnlabeledError):
        raise TypeError(f"{name} is no error of ours")
    found: UnlabeledError = kind(message)
    return found


def num_processes_for(num_cpus: int, num_threads: int, num_shares: int) -> int:
    """Return how many processes feed a GPU: as many as CPUs have room for, and `num_shares` can be divided among.

    Args:
        num_cpus: for this worker.
        num_threads: that decode in each.
        num_shares: equal shares that the worker's batch can be cut into.
    """
    most = max(1, num_cpus // num_threads)
    return max(number for number in range(1, num_shares + 1) if num_shares % number == 0 and number <= most)
