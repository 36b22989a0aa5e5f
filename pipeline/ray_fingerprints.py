"""The Ray Data graph of fingerprints: sources in, about a kilobyte a source out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from .config import RunSettings
from .errors import UnlabeledError
from .fingerprint_store import FINGERPRINTS_SCHEMA
from .fingerprinting import kind_of, take_fingerprints
from .manifest import parquet_bytes
from .plan import in_plan_order, weight_of
from .ray_materialize import error_text, remote_error, run_on_workers, send_along
from .serial_arrow import read_parquet
from .shard import Target
from .storage import Store
from .worker_fence import fence_of

#: Sources of one task, at most: what a killed run has to take again of each task.
_MAX_TASK_SOURCES = 4096
#: Tasks a slot, at least, so that the last one does not hold the run.
_TASKS_PER_SLOT = 8
_RESULT_SCHEMA = pa.schema([*FINGERPRINTS_SCHEMA, pa.field("error", pa.string())])


def run_fingerprints(
    target: Target, sources: pa.Table, inputs: Store, run: RunSettings, num_slots: int
) -> Iterator[pa.Table]:
    """Take the fingerprints of `sources` (inventory columns) on Ray; yield FINGERPRINTS_SCHEMA a task, in no order.

    Raises:
        RemoteError: a worker met an error of the project, such as a store that failed.
        ray.exceptions.RayError: anything else that a worker raised.
    """
    send_along([target])
    rows = [{"sources": parquet_bytes(piece)} for piece in _pieces(sources, target.task.modality, num_slots)]
    name = f"fingerprints_{target.task.modality}"
    for table in run_on_workers(_Taker, ([target], inputs), rows, name, run, num_slots):
        errors = [error for error in table["error"].to_pylist() if error]
        if errors:
            raise remote_error(errors[0])
        yield table.select(FINGERPRINTS_SCHEMA.names)


def _pieces(sources: pa.Table, modality: str, num_slots: int) -> list[pa.Table]:
    """Return the sources in plan order (units stay together), cut into pieces of about equal weight."""
    ordered = in_plan_order(sources)
    weight = weight_of(modality, ordered["num_bytes"].to_numpy())
    num_pieces = max(-(-ordered.num_rows // _MAX_TASK_SOURCES), min(ordered.num_rows, _TASKS_PER_SLOT * num_slots))
    before = np.cumsum(weight.astype(np.float64)) - weight
    cut = (before * num_pieces / weight.sum()).astype(np.int64)
    starts = [*np.flatnonzero(np.diff(cut, prepend=-1)).tolist(), ordered.num_rows]
    return [ordered.slice(start, end - start) for start, end in itertools.pairwise(starts)]


class _Taker:
    """Lives in one process for the whole pass; called with a piece of the sources, yields _RESULT_SCHEMA."""

    def __init__(self, targets: Sequence[Target], inputs: Store) -> None:
        (self._target,) = targets
        self._inputs = inputs
        self._modality = str(self._target.task.modality)
        self._kind = kind_of(self._modality, self._target.recipe)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for data in batch["sources"].to_pylist():
            sources = read_parquet(data)
            try:
                found = take_fingerprints(sources, self._modality, self._kind, self._inputs, fence_of(self._target))
                yield found.append_column("error", pa.array([""] * found.num_rows, pa.string()))
            except UnlabeledError as error:
                yield pa.Table.from_pylist([{"error": error_text(error)}], _RESULT_SCHEMA)
