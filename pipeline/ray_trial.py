"""Trials of sources on Ray: a task for each, in a process that nothing else depends on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from .shard import Target
from .storage import Store
from .trial import try_source
from .work import Tools, Trial
from .worker_fence import fence_of

#: One death may be anybody's doing: a machine that is taken away, an operator, a full memory.
_NUM_DEATHS = 2


def trial_on_ray(inputs: Store, hang_seconds: float) -> Trial:
    """Return what tries a source in other processes, and tells what two of two died of."""
    # It waits for the worker that asks, so it needs no CPU of its own: that one's rests meanwhile.
    task = ray.remote(num_cpus=0, max_retries=0)(_try)

    def trial(target: Target, shard: Mapping[str, Any], part: Mapping[str, Any]) -> str:
        cause = ""
        for _ in range(_NUM_DEATHS):
            cause = _death(task.remote(target, shard, part, inputs, hang_seconds))
            if not cause:
                return ""
        return cause

    return trial


def _death(ref: Any) -> str:
    """Return what the process of a trial died of, or nothing where it lives."""
    try:
        ray.get(ref)
    except (WorkerCrashedError, OutOfMemoryError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    except RayTaskError:
        return ""  # it lives, and the worker that asks will meet the same error
    except RayError:
        return ""  # a machine or Ray itself failed, which says nothing of the source
    return ""


def _try(
    target: Target, shard: Mapping[str, Any], part: Mapping[str, Any], inputs: Store, hang_seconds: float
) -> None:
    with tempfile.TemporaryDirectory(prefix="unlabeled-") as folder, ThreadPoolExecutor(1) as closing:
        try_source(target, shard, part, inputs, Tools(fence_of(target), Path(folder), closing, hang_seconds))
