"""The Ray Data graph of materialize: shards in, receipts out. Nothing large passes through Ray's object store."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from .config import RunSettings
from .cpu_stages import from_stats
from .decode.fence import Fence
from .decode.fence_calls import reserved_bytes_for
from .errors import ConfigError, UnlabeledError
from .lease import until_stopped
from .ledger import Receipt
from .plan_store import Chunk
from .ray_trial import trial_on_ray
from .shard import Target
from .storage import Store
from .work import Job, Tools, WorkUnit, make_shards
from .worker_fence import fence_of

#: Finished shards that may still be on their way to the store, each a file on local disk.
_MAX_CLOSING = 2
#: Groups of shards that a worker has at once: one at work, one waiting.
_MAX_GROUPS_IN_FLIGHT = 2
#: The smallest group of shards is this part of a run, or where there are many CPUs a quarter of a CPU's share.
_MIN_NUM_TASKS = 512
_NO_PROGRESS_SECONDS = 6 * 3600
#: Rows that a task hands back, one a shard.
RESULT_SCHEMA = pa.schema(
    [
        pa.field("target", pa.int32()),
        pa.field("shard_id", pa.string()),
        pa.field("num_rows", pa.int64()),
        pa.field("num_bytes", pa.int64()),
        pa.field("num_sources", pa.int64()),
        pa.field("num_rejected", pa.int64()),
        pa.field("num_bytes_in", pa.int64()),
        pa.field("cpu_seconds", pa.float64()),
        pa.field("cpu_stages", pa.map_(pa.string(), pa.float64())),
        pa.field("peak_rss_bytes", pa.int64()),
        pa.field("error", pa.string()),
    ]
)


class RemoteError(UnlabeledError):
    """An error of the project that was raised in a worker; `kind` is its class's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def group_units(units: Sequence[WorkUnit], num_slots: int, min_weight: int) -> list[list[WorkUnit]]:
    """Return units grouped into tasks that shrink towards the end, so that no straggler holds the run.

    Guided self-scheduling: Polychronopoulos and Kuck, IEEE Transactions on Computers 36 (1987). Each group takes
    1 / (2 * num_slots) of what is left, but at least `min_weight`.
    """
    groups: list[list[WorkUnit]] = []
    left = sum(unit.weight for unit in units)
    group: list[WorkUnit] = []
    wanted, taken = max(min_weight, left // (2 * num_slots)), 0
    for unit in units:
        group.append(unit)
        taken += unit.weight
        if taken >= wanted:
            groups.append(group)
            left -= taken
            group, taken, wanted = [], 0, max(min_weight, left // (2 * num_slots))
    return [*groups, group] if group else groups


def send_along(targets: Sequence[Target]) -> None:
    """Let users' own task files travel with the job: workers on other machines do not have them."""
    for target in targets:
        module = sys.modules[type(target.task).__module__]
        if not module.__name__.startswith(f"{__package__}."):
            ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]


def run_units(
    targets: Sequence[Target], units: Sequence[WorkUnit], inputs: Store, run: RunSettings, num_slots: int
) -> Iterator[dict[str, Any]]:
    """Make all shards on Ray and yield one row a shard (RESULT_SCHEMA) as tasks end, in no order.

    Raises:
        RemoteError: a worker met an error of the project (the store failed, a task broke its contract).
        ray.exceptions.RayError: anything else that a worker raised.
    """
    if not units:
        return
    send_along(targets)
    total = sum(unit.weight for unit in units)
    groups = group_units(units, num_slots, max(1, total // max(_MIN_NUM_TASKS, 4 * num_slots)))
    rows = [{"jobs": json.dumps([[_job_json(job) for job in unit.jobs] for unit in group])} for group in groups]
    name = "_".join(["materialize", *(target.recipe.task.name for target in targets)])
    for table in run_on_workers(_Worker, (targets, inputs, run.hang_seconds), rows, name, run, num_slots):
        for row in table.to_pylist():
            if row["error"]:
                raise remote_error(row["error"])
            yield row


def run_on_workers(
    worker: type,
    given: tuple[Any, ...],
    rows: Sequence[dict[str, Any]],
    name: str,
    run: RunSettings,
    num_slots: int,
) -> Iterator[pa.Table]:
    """Run `rows` through workers, a row a task of Ray, and yield what they yield as tasks end, in no order.

    Args:
        worker: class of the workers: made with `given` in each process, called with a table of one row.
        given: what each is made with; first the datasets, for whose decoding a worker has memory.
        rows: what to do.
        name: stands on the dashboard.
        run: where it runs.
        num_slots: workers, at most.

    Raises:
        ConfigError: no machine has the memory.
        ray.exceptions.RayError: what a worker raised.
    """
    targets: Sequence[Target] = given[0]
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = _NO_PROGRESS_SECONDS
    memory_bytes = run.worker_memory_bytes or max(reserved_bytes_for(target.recipe.limits) for target in targets)
    _check_fits(memory_bytes)
    dataset: ray.data.Dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    dataset.set_name(name)
    with warnings.catch_warnings():
        # Deprecated for 2.64, which this release does not admit; without it Ray retries a dying task for ever.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        dataset = dataset.map_batches(
            type(name, (worker,), {}),  # the name stands on the dashboard and in the labels of Ray's metrics
            fn_constructor_args=given,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            memory=memory_bytes,
            compute=_pool(run, min(num_slots, len(rows))),
            max_task_retries=run.max_task_retries,
        )
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield pa.table(batch)


def remote_error(text: str) -> RemoteError:
    """Return the error that `error_text` described."""
    error = json.loads(text)
    return RemoteError(error["kind"], error["message"])


def error_text(error: UnlabeledError) -> str:
    """Return an error of the project as it travels from a worker in a row."""
    return json.dumps({"kind": type(error).__name__, "message": str(error)})


def _check_fits(memory_bytes: int) -> None:
    """Fail now where no machine could ever run a worker; Ray would wait for one for ever.

    Raises:
        ConfigError: naming what is needed and what the largest machine has.
    """
    largest = max((node["Resources"].get("memory", 0) for node in _nodes() if node["Alive"]), default=0)
    if largest < memory_bytes:
        raise ConfigError(
            f"a worker with its decoder may need {memory_bytes / 1e9:.1f} GB, but the largest machine has "
            f"{largest / 1e9:.1f} GB free for work. Lower limits.max_pixels, or set run.worker_memory_bytes."
        )


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _pool(run: RunSettings, num_workers: int) -> ray.data.ActorPoolStrategy:
    """Return one worker a slot; a cluster may grow. The next group waits in the worker, so that none is ever idle."""
    is_cluster = run.address or os.environ.get("RAY_ADDRESS")
    at_most = None if is_cluster else num_workers
    return ray.data.ActorPoolStrategy(
        min_size=num_workers, max_size=at_most, max_tasks_in_flight_per_actor=_MAX_GROUPS_IN_FLIGHT
    )


class _Worker:
    """Lives in one process for the whole run; called with groups of units, yields RESULT_SCHEMA."""

    def __init__(self, targets: Sequence[Target], inputs: Store, hang_seconds: float) -> None:
        self._targets = targets
        self._inputs = inputs
        self._hang_seconds = hang_seconds
        self._trial = trial_on_ray(inputs, hang_seconds)
        fence_of(targets[0]).start()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        first = self._targets[0]
        fence = fence_of(first)
        with tempfile.TemporaryDirectory(prefix="unlabeled-") as folder, ThreadPoolExecutor(1) as closing:
            tools = Tools(fence, Path(folder), closing, self._hang_seconds, self._trial)
            waiting: deque[tuple[Sequence[Job], Future[Receipt]]] = deque()
            try:
                for text in batch["jobs"].to_pylist():
                    for unit in until_stopped(first.store, first.epoch, json.loads(text)):
                        jobs = [_job_from_json(job) for job in unit]
                        made = make_shards(self._targets, jobs, self._inputs, tools)
                        waiting.extend((jobs, future) for future in made)
                        while len(waiting) > _MAX_CLOSING:
                            yield _results([waiting.popleft()], fence)
                yield _results(waiting, fence)
            except UnlabeledError as error:
                yield pa.Table.from_pylist([_error_row(error)], RESULT_SCHEMA)


def _results(done: Iterable[tuple[Sequence[Job], Future[Receipt]]], fence: Fence) -> pa.Table:
    return pa.Table.from_pylist([_result(jobs, future.result(), fence) for jobs, future in done], RESULT_SCHEMA)


def _result(jobs: Sequence[Job], receipt: Receipt, fence: Fence) -> dict[str, Any]:
    statuses = [outcome.status for outcome in receipt.outcomes]
    return {
        "target": next(job.target for job in jobs if job.shard["shard_id"] == receipt.shard_id),
        "shard_id": receipt.shard_id,
        "num_rows": receipt.num_rows,
        "num_bytes": receipt.num_bytes,
        "num_sources": len(statuses),
        "num_rejected": statuses.count("rejected"),
        "num_bytes_in": sum(outcome.num_bytes for outcome in receipt.outcomes),
        "cpu_seconds": receipt.stats.get("cpu_seconds", 0.0),
        "cpu_stages": from_stats(receipt.stats),
        "peak_rss_bytes": peak_rss_bytes() + fence.peak_rss_bytes,
        "error": "",
    }


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _error_row(error: UnlabeledError) -> dict[str, Any]:
    empty: dict[str, Any] = {field.name: 0 for field in RESULT_SCHEMA}
    return {**empty, "shard_id": "", "cpu_seconds": 0.0, "cpu_stages": {}, "error": error_text(error)}


def _job_json(job: Job) -> dict[str, Any]:
    return {"target": job.target, "shard_index": job.shard_index, "shard": job.shard, "chunk": job.chunk.model_dump()}


def _job_from_json(data: dict[str, Any]) -> Job:
    return Job(**{**data, "chunk": Chunk(**data["chunk"])})
