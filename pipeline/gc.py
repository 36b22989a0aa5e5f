"""What nothing names any more: shards of killed or losing runs, tables and plans that led nowhere.

Spared: everything that some version names, everything that a plan or receipt which may still be finished names, and
whatever is younger than a grace time by the store's clock, since a run may be about to name it.

Removing needs the lease: a run may use again what is old and what nothing named when the removal looked around.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from . import lease
from .errors import NotFound
from .ledger import listed_receipts, read_receipts, receipt_key
from .manifest import load_manifest, load_tables, manifest_key, table_key, versions
from .plan_store import load_plan, unpublished_plan
from .storage import ObjectInfo, PendingWrite, Store

#: Folders that hold only what runs write; anything else in a dataset's place is not ours to remove.
_FOLDERS = ("data", "_tables", "_assets", "_plans", "_receipts", "_attempts", "_leases")


@dataclass(frozen=True)
class Garbage:
    """What may go: objects and unfinished writes; how many objects were spared only because they are young."""

    objects: tuple[ObjectInfo, ...]
    num_spared: int
    pending: tuple[PendingWrite, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes that removing it frees."""
        return sum(info.num_bytes for info in self.objects)


def find_garbage(store: Store, min_age: timedelta) -> Garbage:
    """Return the objects under a dataset that nothing names and that are older than `min_age`.

    Raises:
        CorruptData: a version or live plan cannot be read; then nothing is garbage until that is solved.
    """
    listed = [info for folder in _FOLDERS for page in store.list(folder) for info in page]
    named = set(live_keys(store))
    # The store's clock: a fresh object is what "now" is measured by.
    store.put("_leases/clock", b"")
    now = store.head("_leases/clock").last_modified
    orphans = [info for info in listed if info.key not in named and info.is_supported]
    old = tuple(info for info in orphans if now - info.last_modified >= min_age)
    pending = tuple(write for write in store.pending() if now - write.started >= min_age)
    return Garbage(old, len(orphans) - len(old), pending)


def remove_garbage(store: Store, min_age: timedelta, pace: lease.Pace | None = None) -> Garbage:
    """Remove what `find_garbage` finds and return it; no run is at work meanwhile.

    Raises:
        Conflict: a run is at work on the dataset; nothing was removed.
        CorruptData: as `find_garbage`.
    """
    with lease.acquire(store, pace=pace):
        garbage = find_garbage(store, min_age)
        store.delete([info.key for info in garbage.objects])
        for write in garbage.pending:
            store.abort(write)
    return garbage


def live_keys(store: Store) -> Iterable[str]:
    """Yield the keys that some version names, or that an unpublished plan on the newest one needs."""
    published = versions(store)
    for version in published:
        yield manifest_key(version)
        manifest = load_manifest(store, version)
        if manifest is None:
            continue
        yield from (table_key(file.sha256) for file in manifest.tables)
        yield from (f"_assets/{sha256}" for sha256 in manifest.assets.values())
        shards = load_tables(store, manifest, "shards").shards
        yield from (name for name in shards["file"].to_pylist() if name)
        yield from (receipt_key(shard_id) for shard_id in shards["shard_id"].to_pylist())
        yield from _plan_keys(store, manifest.plan)
    yield from lease.live_keys(store)
    newest = load_manifest(store)
    live = unpublished_plan(store, newest.version if newest else 0, newest.copied_from if newest else None)
    if live is not None:
        yield from _plan_keys(store, live.name)
        yield from (f"_assets/{sha256}" for sha256 in live.header.assets.values())
        done = sorted(set(live.shards["shard_id"].to_pylist()) & listed_receipts(store))
        for receipt in read_receipts(store, done):
            yield receipt_key(receipt.shard_id)
            if receipt.file:
                yield receipt.file


def _plan_keys(store: Store, name: str) -> Iterable[str]:
    try:
        header = load_plan(store, name).header
    except NotFound:
        return  # removed when a source was forgotten; nothing reads the plan of a version that stands
    yield f"_plans/{name}.json"
    tables = (
        header.shards_sha256,
        header.settled_parts_sha256,
        header.settled_rejects_sha256,
        header.removed_parts_sha256,
        *(chunk.sha256 for chunk in header.chunks),
    )
    yield from (f"_plans/{sha256}.parquet" for sha256 in tables)
