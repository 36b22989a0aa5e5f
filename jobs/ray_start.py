"""Where a command's Ray is: the cluster of `--address`, the surrounding one inside a job, or a local one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

from ..pipeline.config import RunSettings
from ..pipeline.errors import UnlabeledError

#: Receipts are all that passes through the object store; Ray asks for at least 75 MiB.
_OBJECT_STORE_BYTES = 80 * 2**20


@contextlib.contextmanager
def started_ray(run: RunSettings) -> Iterator[int]:
    """Connect to a cluster or start a local Ray, and yield the number of CPU slots.

    Raises:
        UnlabeledError: no cluster answers at `run.address`.
    """
    # Set before Ray is imported: it reads them once.
    os.environ.setdefault("RAY_task_oom_retries", "2")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

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
    try:
        yield num_slots()
    finally:
        ray.shutdown()


def num_slots() -> int:
    """Return how many CPUs the Ray that we are connected to has."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))
