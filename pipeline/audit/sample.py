"""Which row groups an audit reads: as many as hold enough examples, chosen by key over all shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..manifest import Manifest, load_tables
from ..preview.sample import keyed_row_groups, read_row_group
from ..storage import Store
from .measure import SCHEMA, Spec, measure

#: Enough to tell a score of 0.05 from chance for most tasks, and few enough to take minutes.
MAX_EXAMPLES = 6000


@dataclass(frozen=True)
class Unit:
    """One row group to read: `group` as `keyed_row_groups` has it, and where it stands in its shard."""

    group: dict[str, Any]
    first_row: int
    num_shard_rows: int


def choose_units(store: Store, manifest: Manifest, max_examples: int) -> list[Unit]:
    """Return row groups of all shards in keyed order, until they hold `max_examples`."""
    tables = load_tables(store, manifest, "shards", "row_groups")
    first_rows: dict[tuple[str, int], int] = {}
    num_rows: dict[str, int] = {}
    for row in sorted(tables.row_groups.to_pylist(), key=lambda row: (row["shard_id"], row["row_group"])):
        first_rows[row["shard_id"], row["row_group"]] = num_rows.get(row["shard_id"], 0)
        num_rows[row["shard_id"]] = num_rows.get(row["shard_id"], 0) + row["num_rows"]
    units: list[Unit] = []
    left = max_examples
    for group in keyed_row_groups(manifest, tables):
        if left <= 0:
            break
        shard_id = group["shard_id"]
        units.append(Unit(group, first_rows[shard_id, group["row_group"]], num_rows[shard_id]))
        left -= group["num_rows"]
    return units


def measure_unit(store: Store, spec: Spec, unit: Unit) -> pa.Table:
    """Read one row group and return its examples measured (measure.SCHEMA).

    Raises:
        CorruptData: a page does not match its checksum, or a stored picture or sound cannot be one.
        NotFound: a file that the version names is gone.
    """
    rows = spec.examples(read_row_group(store, unit.group, None))
    return measure(spec, rows, unit.first_row, unit.num_shard_rows)


def measure_here(store: Store, spec: Spec, units: list[Unit]) -> pa.Table:
    """Return all units measured in this process."""
    return pa.concat_tables([SCHEMA.empty_table(), *(measure_unit(store, spec, unit) for unit in units)])
