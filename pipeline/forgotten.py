"""Sources that a dataset must not use again: known by a hash of their keys, so that the keys themselves are not kept.

_forgotten/<sha256 of source_key>   empty; what it names is left out of every inventory
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from .inventory import Inventory
from .manifest import create_content
from .rng import sha256_hex
from .storage import Store

FOLDER = "_forgotten/"


def tombstone_of(source_key: str) -> str:
    """Return the name under which a key is forgotten: 64 hexadecimal digits."""
    return sha256_hex(source_key.encode("utf-8", "surrogatepass"))


def bury(store: Store, source_keys: Iterable[str]) -> None:
    """Mark sources as forgotten; doing so again is harmless."""
    for key in source_keys:
        create_content(store, FOLDER + tombstone_of(key), b"")


def tombstones(store: Store) -> frozenset[str]:
    """Return the tombstones of a dataset."""
    return frozenset(info.key.removeprefix(FOLDER) for page in store.list(FOLDER) for info in page)


def without_forgotten(inventory: Inventory, store: Store) -> Inventory:
    """Return the inventory without what the dataset in `store` has forgotten."""
    buried = tombstones(store)
    if not buried:
        return inventory
    sources, rejected = (_kept(table, buried) for table in (inventory.sources, inventory.rejected))
    return replace(inventory, sources=sources, rejected=rejected)


def _kept(table: pa.Table, buried: frozenset[str]) -> pa.Table:
    # A container is forgotten with all its members.
    names = [{key, key.split("#", 1)[0]} for key in table["source_key"].to_pylist()]
    return table.filter(pa.array([buried.isdisjoint(map(tombstone_of, each)) for each in names], pa.bool_()))
