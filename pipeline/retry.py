"""What a retry works on: a version's rejected sources as they stand in the store now, all others as they stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .errors import NotFound
from .inventory import INVENTORY_SCHEMA, REJECTED_SCHEMA, Inventory
from .manifest import SETTLED, Manifest, load_tables
from .parts import WHOLE
from .serial_arrow import sorted_by
from .storage import Store

_NUM_THREADS = 32


def retry_inventory(store: Store, manifest: Manifest, inputs: Store, *, everything: bool = False) -> Inventory:
    """Return the inventory of a version, in which only rejected sources are looked at anew, one HEAD an object.

    Tried again are transient rejects and those whose object has changed since, with `everything` all rejects. Left as
    they are: sources that are gone, those in a container that has changed (its index must be taken anew, which
    `materialize` does), and what was rejected while listing.

    Raises:
        StoreError: the inputs cannot be reached.
    """
    tables = load_tables(store, manifest, "parts", "rejects")
    is_settled = pc.and_(pc.equal(tables.parts["generation"], SETTLED), pc.equal(tables.parts["status"], "rejected"))
    held = tables.parts.filter(pc.invert(is_settled))
    rows = held.select(INVENTORY_SCHEMA.names).to_pylist()
    rejected = [index for index, status in enumerate(held["status"].to_pylist()) if status == "rejected"]
    found = _heads(inputs, sorted({rows[index]["object_key"] for index in rejected}))
    permanent = held["is_permanent"].to_pylist()
    retry_keys = set()
    changed: dict[str, tuple[int, str]] = {}
    for index in rejected:
        row = rows[index]
        now = found.get(row["object_key"])
        is_plain = row["object_key"] == row["source_key"]
        if now is None or (not is_plain and now[1] != row["etag"]):
            continue
        if is_plain and now != (row["num_bytes"], row["etag"]):
            changed[row["source_key"]] = now
        if everything or not permanent[index]:
            retry_keys.add(row["source_key"])
    sources = _as_they_stand(rows, changed)
    settled = _settled(tables.parts.filter(is_settled), tables.rejects)
    return Inventory(
        manifest.input_uri, sources, settled, manifest.counts.num_skipped_markers, retry_keys=frozenset(retry_keys)
    )


def _as_they_stand(rows: Sequence[dict[str, Any]], changed: Mapping[str, tuple[int, str]]) -> pa.Table:
    """Return an inventory of `rows`; of `changed` objects, which may be cut elsewhere now, the whole ones."""
    kept = [row for row in rows if row["source_key"] not in changed]
    whole = {row["source_key"]: {**row, "start": 0, "end": WHOLE} for row in rows if row["source_key"] in changed}
    for key, (num_bytes, etag) in changed.items():
        whole[key] |= {"num_bytes": num_bytes, "etag": etag}
    return sorted_by(pa.Table.from_pylist([*kept, *whole.values()], INVENTORY_SCHEMA), "source_key", "start")


def _heads(inputs: Store, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return (size, etag) of the objects that are there."""

    def head(key: str) -> tuple[int, str] | None:
        try:
            info = inputs.head(key)
        except NotFound:
            return None
        return info.num_bytes, info.etag

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return {key: info for key, info in zip(keys, pool.map(head, keys), strict=True) if info is not None}


def _settled(parts: pa.Table, rejects: pa.Table) -> pa.Table:
    """Return what was rejected while listing, as an inventory names it."""
    listed: list[dict[str, Any]] = rejects.filter(pc.equal(rejects["generation"], SETTLED)).to_pylist()
    sizes = parts["num_bytes"].to_pylist()
    rows = [
        {**{name: row[name] for name in ("source_key", "etag", "reason", "message")}, "num_bytes": num_bytes}
        for row, num_bytes in zip(listed, sizes, strict=True)
    ]
    return pa.Table.from_pylist(rows, REJECTED_SCHEMA)
