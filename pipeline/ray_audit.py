"""The Ray Data graph of the audit: row groups in, measured examples out; pictures never leave the worker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

import pyarrow as pa
import ray.data

from .audit.measure import SCHEMA, Spec
from .audit.sample import Unit, measure_unit
from .storage import Store

_UNIT = "unit_number"


def measure_on_ray(store: Store, spec: Spec, units: Sequence[Unit]) -> pa.Table:
    """Return all units measured on the Ray that is connected, one task a row group, in the order of `units`.

    Raises:
        ray.exceptions.RayError: what a worker raised: a damaged or missing shard file, a failing store.
    """
    if not units:
        return SCHEMA.empty_table()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [
        {_UNIT: number, "unit": json.dumps([unit.group, unit.first_row, unit.num_shard_rows])}
        for number, unit in enumerate(units)
    ]
    dataset: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    dataset = dataset.map_batches(_measurer(store, spec), batch_size=None, batch_format="pyarrow", num_cpus=1)
    tables = [pa.table(batch) for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow")]
    # Tasks end in any order; folds and permutations must not depend on it.
    tables.sort(key=lambda table: table[_UNIT][0].as_py() if table.num_rows else -1)
    return pa.concat_tables([table.drop_columns([_UNIT]).cast(SCHEMA) for table in tables if table.num_rows])


def _measurer(store: Store, spec: Spec) -> Callable[[pa.Table], pa.Table]:
    def audit(batch: pa.Table) -> pa.Table:
        tables = []
        for row in batch.to_pylist():
            group, first_row, num_shard_rows = json.loads(row["unit"])
            table = measure_unit(store, spec, Unit(group, first_row, num_shard_rows))
            numbers = pa.array([row[_UNIT]] * table.num_rows, pa.int64())
            tables.append(table.append_column(_UNIT, numbers))
        return pa.concat_tables(tables)

    return audit
