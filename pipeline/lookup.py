"""One example by its id: its shard is found by reading the column of ids alone, then its row."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from .byte_ranges import RangedBytes
from .decode.bytes_source import NamelessFile
from .errors import NotFound
from .features import Features
from .manifest import Manifest, load_tables
from .serial_arrow import ParquetReader
from .storage import Store

_NUM_THREADS = 8


@dataclass(frozen=True)
class Found:
    """Where an example stands, and all that its row says; media are there as their number of bytes.

    part: row of its source in the parts table. values: column -> value.
    """

    file: str
    row_group: int
    row: int
    part: Mapping[str, Any]
    values: Mapping[str, Any]


def find_example(store: Store, manifest: Manifest, example_id: str) -> Found:
    """Return the example of a version.

    Raises:
        NotFound: the version has no such example.
    """
    tables = load_tables(store, manifest, "shards", "parts")
    shards = [row for row in tables.shards.select(["shard_id", "file", "num_bytes"]).to_pylist() if row["file"]]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        places = pool.map(lambda shard: _place(store, shard["file"], shard["num_bytes"], example_id), shards)
        found = next(((shard, place) for shard, place in zip(shards, places, strict=True) if place), None)
        pool.shutdown(wait=False, cancel_futures=True)
    if found is None:
        raise NotFound(f"{store.uri}: version {manifest.version} has no example {example_id!r}.")
    shard, (row_group, at) = found
    with _opened(store, shard["file"], shard["num_bytes"]) as file:
        first = sum(file.metadata.row_group(index).num_rows for index in range(row_group))
        (values,) = file.read_row_group(row_group).slice(at, 1).to_pylist()
    parts = tables.parts.filter(pc.equal(tables.parts["shard_id"], shard["shard_id"])).to_pylist()
    of_source = [part for part in parts if part["source_key"] == values["source_key"]]
    # A segment is where an item begins; of a source's parts it lies in the last that starts before it.
    part = max((part for part in of_source if part["start"] <= values["segment"]), key=lambda part: int(part["start"]))
    return Found(shard["file"], row_group, first + at, part, {name: _told(value) for name, value in values.items()})


def by_role(found: Found, features: Features) -> dict[str, dict[str, Any]]:
    """Return the row's own columns by what they are for: input, label, parameter; the envelope's under `lineage`."""
    told: dict[str, dict[str, Any]] = {role: {} for role in ("input", "label", "parameter", "lineage")}
    for name, feature in features:
        told[feature.role][name] = found.values[name]
    return told


def _place(store: Store, name: str, num_bytes: int, example_id: str) -> tuple[int, int] | None:
    """Return (row group, row in it) of the example in a shard, None where it is not there."""
    with _opened(store, name, num_bytes) as file:
        for index in range(file.metadata.num_row_groups):
            ids = file.read_row_group(index, columns=["example_id"])["example_id"]
            at = pc.index(ids, example_id).as_py()
            if at >= 0:
                return index, at
    return None


def _opened(store: Store, name: str, num_bytes: int) -> ParquetReader:
    return ParquetReader(NamelessFile(RangedBytes(store, name, 0, num_bytes, "")), check_pages=True)


def _told(value: Any) -> Any:
    """Return a value without media: bytes become their number."""
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "path"}:
            return {"num_bytes": len(value["bytes"] or b"")}
        return {name: _told(one) for name, one in value.items()}
    if isinstance(value, bytes):
        return {"num_bytes": len(value)}
    return [_told(one) for one in value] if isinstance(value, list) else value
