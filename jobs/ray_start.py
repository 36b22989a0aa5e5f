"""Where a command's Ray is: the cluster of `--address`, the surrounding one inside a job, or a local one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from ..pipeline.config import RunSettings
from ..pipeline.errors import UnlabeledError
from ..pipeline.shard import Target
from ..pipeline.storage import Store
from ..pipeline.work import WorkUnit

#: Ray sets it for the driver of a submitted job.
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Receipts are all that passes through the object store; Ray asks for at least 75 MiB.
_OBJECT_STORE_BYTES = 80 * 2**20


def has_cluster(run: RunSettings) -> bool:
    """Return whether there is a cluster to connect to, so that no local Ray would be started."""
    return bool(run.address or os.environ.get("RAY_ADDRESS"))


@contextlib.contextmanager
def started_ray(run: RunSettings) -> Iterator[int]:
    """Connect to a cluster or start a local Ray, and yield the number of CPU slots.

    Raises:
        UnlabeledError: no cluster answers at `run.address`.
    """
    set_environment()
    import ray
    import ray.data

    address = run.address or os.environ.get("RAY_ADDRESS")
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that its own progress bars are off; ours are shown instead.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # What a worker raised reaches the user as one message; --debug shows the trace.
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield num_slots()
        return
    old_umask = os.umask(0o077)  # ray.init may write ~/.ray/auth_token
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        else:
            ray.init(
                num_cpus=run.num_cpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=run.dashboard,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        where = f"at {address}" if address else "on this machine"
        raise UnlabeledError(f"no Ray {where}: {error}") from error
    finally:
        os.umask(old_umask)
    if threading.current_thread() is threading.main_thread():
        # ray.init has put a handler of its own in the place of ours: it ends the process with another exit code.
        signal.signal(signal.SIGTERM, on_sigterm)
    with _stdout_kept_clean():
        try:
            yield num_slots()
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Let what Ray prints on stdout (that a worker has died) go to stderr: stdout may be for one JSON object."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is sys.__stdout__:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def set_environment() -> None:
    """Set what Ray reads once, when it is imported."""
    os.environ.setdefault("RAY_task_oom_retries", "2")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray Data's own actors make Ray's core print an error on the user's screen that is none (ray issue 53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def num_slots() -> int:
    """Return how many CPUs the Ray that we are connected to has for workers."""
    import ray

    # The driver of a job holds CPUs itself; a worker that waits for them would wait until the end.
    count = ray.available_resources if _IN_A_JOB in os.environ else ray.cluster_resources
    resources: dict[str, float] = count()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


class Workers:
    """The Executor on Ray, which is started when it is first needed, then `on_start` is called; a context manager."""

    def __init__(self, inputs: Store, run: RunSettings) -> None:
        self.on_start: Callable[[], None] | None = None
        self._inputs = inputs
        self._run = run
        self._stack = contextlib.ExitStack()
        self._num_slots = 0
        self.ray_start_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def start(self) -> None:
        """Start Ray, which starts one process a slot ahead of work; returns while these still load.

        Run nothing in them before the run's own workers: a process that has run a task becomes no worker any more.
        """
        if self._num_slots:
            return
        started = time.monotonic()
        self._num_slots = self._stack.enter_context(started_ray(self._run))
        self.ray_start_seconds = time.monotonic() - started
        if self.on_start is not None:
            self.on_start()

    def __call__(self, targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        """Make the units' shards; one row a shard as they are done."""
        from ..pipeline.ray_materialize import run_units

        if units:
            self.start()
            yield from run_units(targets, units, self._inputs, self._run, self._num_slots)

    def fingerprints(self, target: Target, sources: pa.Table) -> Iterator[pa.Table]:
        """Take the fingerprints of sources (inventory columns); a table a task as they are done."""
        from ..pipeline.ray_fingerprints import run_fingerprints

        self.start()
        yield from run_fingerprints(target, sources, self._inputs, self._run, self._num_slots)
