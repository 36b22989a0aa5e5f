"""How long a version of very many shards takes to publish and to open; no media: its tables are made up.

    python -m tests.bench.bench_open [--shards 400000] [--row-groups 16] [--parts 1]

Every shard has `--row-groups` row groups of 1,000 rows and `--parts` parts. Prints one JSON object: seconds, CPU
seconds and peak memory of the process that publishes the version, of one that opens it and asks which row groups its
first batches need, and of one that loads all its tables; the bytes of each kind of table.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from unlabeled.pipeline.manifest import (
    PARTS,
    ROW_GROUPS,
    SHARDS,
    Manifest,
    Tables,
    count,
    load_tables,
    publish,
    require_manifest,
    split_counts,
    write_tables,
)
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.sequence import PlainSchedule
from unlabeled.trainers.source import open_source

from tests.loading import turns

ROWS_PER_GROUP = 1000
NUM_STEPS = 100


def main() -> None:
    """Publish, then open in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=400_000)
    parser.add_argument("--row-groups", type=int, default=16)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--only", choices=(*_READERS,), help="do this with a dataset that stands, and no more")
    parser.add_argument("--dataset", default="")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(lambda: _READERS[arguments.only](arguments.dataset))))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = turns(Path(folder), 4)
        base = require_manifest(store)
        tables = made_up(arguments.shards, arguments.row_groups, arguments.parts)
        found = {"publish": measured(lambda: published(store, base, tables))}
        manifest = require_manifest(store)
        found["tables_mb"] = {file.kind: round(file.num_bytes / 1e6, 1) for file in manifest.tables}
        for name in _READERS:
            command = [sys.executable, "-m", "tests.bench.bench_open", "--only", name, "--dataset", store.uri]
            found[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    print(json.dumps(found, indent=1))


def made_up(num_shards: int, num_groups: int, num_parts: int) -> Tables:
    """Return tables of one generation: names and digests as long, and as little alike, as real ones."""
    digests = _digests(num_shards, 0)
    ordinals = np.arange(num_shards, dtype=np.int32)
    shards = {
        "shard_id": digests,
        "ordinal": ordinals,
        "split": ["train"] * num_shards,
        "file": [f"data/train/{digest}-{digest[:16]}.parquet" for digest in digests],
        "sha256": _digests(num_shards, 1),
        "num_bytes": np.full(num_shards, 256 << 20),
        "num_rows": np.full(num_shards, num_groups * ROWS_PER_GROUP),
        "footer_sha256": _digests(num_shards, 2),
        "footer_num_bytes": np.full(num_shards, 30_000),
    }
    of_group, of_part = np.repeat(ordinals, num_groups), np.repeat(ordinals, num_parts)
    place = np.tile(np.arange(num_groups, dtype=np.int32), num_shards)
    groups = {
        "ordinal": of_group,
        "shard_id": pa.array(digests).take(pa.array(of_group)),
        "row_group": place,
        "num_rows": np.full(len(of_group), ROWS_PER_GROUP),
        "offset_bytes": place.astype(np.int64) << 24,
        "num_bytes": np.full(len(of_group), 16 << 20),
    }
    keys = [f"part-{number // 1000:06d}/{number:09d}.jpg" for number in range(len(of_part))]
    parts = {
        "ordinal": of_part,
        "shard_id": pa.array(digests).take(pa.array(of_part)),
        "split": ["train"] * len(of_part),
        **dict.fromkeys(("source_key", "group_id", "object_key", "unit"), keys),
        "status": ["used"] * len(of_part),
        "sha256": _digests(len(of_part), 3),
        "etag": [digest[:32] for digest in _digests(len(of_part), 4)],
        "num_examples": np.full(len(of_part), 4),
    }
    made = ((SHARDS, shards, ordinals), (ROW_GROUPS, groups, of_group), (PARTS, parts, of_part))
    return Tables(*(_table(schema, columns, len(of)) for schema, columns, of in made))


def published(store: Store, base: Manifest, tables: Tables) -> int:
    """Publish the tables as the next version of a small dataset, and return its number."""
    update = {
        "version": base.version + 1,
        "base_version": base.version,
        "writer_token": "0" * 32,
        "tables": write_tables(store, tables, None),
        "counts": count(tables, 0),
        "splits": split_counts(tables.shards),
    }
    publish(store, base.model_copy(update=update))
    return base.version + 1


def opened(dataset: str) -> int:
    """Open a dataset, ask which row groups the first batches of an epoch need, and return how many these are."""
    source = open_source(dataset, "train")
    schedule = PlainSchedule(source.num_rows // source.manifest.bundle_size, 64, 24, 0)
    units = {unit for step in range(NUM_STEPS) for unit in schedule.step(0, step).units.tolist()}
    return len({source.unit(unit)[1].name for unit in units})


def loaded(dataset: str) -> int:
    """Load all tables of a dataset, as planning on it does, and return how many parts it has."""
    store = Store.open(dataset)
    return int(load_tables(store, require_manifest(store)).parts.num_rows)


_READERS: dict[str, Callable[[str], int]] = {"open": opened, "load": loaded}


def measured(work: Callable[[], int]) -> dict[str, Any]:
    """Return what `work` cost this process; its peak memory is that since it began."""
    begun, cpu = time.monotonic(), time.process_time()
    result = work()
    return {
        "result": result,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_rss_mb": _peak_rss_mb(),
    }


def _peak_rss_mb() -> int:
    """Return this process's peak; getrusage would count that of the process which started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def _table(schema: pa.Schema, columns: dict[str, Any], num: int) -> pa.Table:
    """Return a table of generation 1 in which what is not given is empty."""
    empty = {pa.string(): "", pa.bool_(): True}
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.repeat(pa.scalar(1 if field.name == "generation" else empty.get(field.type, 0), field.type), num)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _digests(num: int, seed: int) -> list[str]:
    data = np.random.default_rng(seed).bytes(32 * num).hex()
    return [data[start : start + 64] for start in range(0, 64 * num, 64)]


if __name__ == "__main__":
    main()
