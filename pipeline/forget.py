"""Erasing sources: what holds them, what is removed, and a search for what may have been left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from .errors import ConfigError, nearest
from .fingerprint_store import FOLDER as FINGERPRINTS
from .fingerprint_store import save_fingerprints
from .forgotten import tombstone_of, tombstones
from .gc import find_garbage
from .manifest import load_tables, manifest_key, require_manifest, versions
from .plan_store import load_plan
from .planning import CHECKED_FOLDER, save_checked
from .serial_arrow import ParquetReader, read_parquet
from .storage import ObjectInfo, Store

_PLANS = "_plans/"


def resolve(store: Store, given: Collection[str]) -> set[str]:
    """Return the source keys that `given` name in any version: keys, or objects with all their members.

    Raises:
        ConfigError: a key that no version holds and that was not forgotten before.
    """
    held: dict[str, set[str]] = {}
    for version in versions(store):
        for key, of_object in _columns(store, version, "source_key", "object_key"):
            for name in (key, of_object):
                held.setdefault(name, set()).add(key)
    known = tombstones(store)
    missing = [key for key in given if key not in held and tombstone_of(key) not in known]
    if missing:
        raise ConfigError(f"{store.uri} holds no source {missing[0]!r}.{nearest(missing[0], held)}")
    return {source for key in given for source in (*held.get(key, ()), key)}


def contents_of(store: Store, keys: Collection[str]) -> tuple[set[str], set[str]]:
    """Return (sha256 of the sources' content that nothing else holds, other sources whose content is the same)."""
    mine: set[str] = set()
    others: dict[str, set[str]] = {}
    for version in versions(store):
        for key, sha256 in _columns(store, version, "source_key", "sha256"):
            if key in keys and sha256:
                mine.add(sha256)
            elif sha256:
                others.setdefault(sha256, set()).add(key)
    return mine - others.keys(), {key for sha256 in mine for key in others.get(sha256, ())}


def shards_with(store: Store, keys: Collection[str]) -> frozenset[str]:
    """Return the ids of planned shards that read any of the sources, for examples or for partners alone."""
    wanted = pa.array(sorted(keys), pa.string())
    found: set[str] = set()
    for name in _plan_names(store):
        plan = load_plan(store, name)
        parts = plan.parts()
        index = parts.filter(pc.is_in(parts["source_key"], value_set=wanted))["shard_index"].unique()
        found.update(plan.shards["shard_id"].take(index).to_pylist())
    return frozenset(found)


def purge(store: Store, keys: Collection[str]) -> list[str]:
    """Remove every object that names one of the sources or that nothing names any more; return what was removed.

    The newest version must be without them already. Plans are removed with the versions that they led to, and so is
    the newest one's: it may say what was dropped.
    """
    old = [
        number
        for number in versions(store)[:-1]
        if any(key in keys for (key,) in _columns(store, number, "source_key"))
    ]
    removed = [manifest_key(number) for number in old]
    removed += [info.key for folder in ("_audit", "_attempts") for info in _listed(store, folder)]
    removed += _rewritten(store, FINGERPRINTS, save_fingerprints, keys)
    removed += _rewritten(store, CHECKED_FOLDER, save_checked, keys)
    # Indices of containers: they are taken anew, and not kept, from now on.
    indices = [info.key for info in _listed(store, "_fingerprints") if info.key not in set(removed)]
    removed += [name for name in indices if _holds(store, name, keys)]
    removed += [info.key for info in _listed(store, _PLANS)]
    store.delete(removed)
    orphans = [info.key for info in find_garbage(store, timedelta(0)).objects]
    store.delete(orphans)
    for write in list(store.pending()):
        store.abort(write)
    return sorted({*removed, *orphans})


def _rewritten(store: Store, folder: str, save: Callable[[Store, pa.Table], None], keys: Collection[str]) -> list[str]:
    """Save the tables of a folder without the sources; return the names of those that named some, to be removed."""
    stale, wanted = [], pa.array(sorted(keys), pa.string())
    for info in _listed(store, folder):
        table = read_parquet(store.get(info.key))
        kept = table.filter(pc.invert(pc.is_in(table["source_key"], value_set=wanted)))
        if kept.num_rows < table.num_rows:
            save(store, kept)
            stale.append(info.key)
    return stale


def survivors(store: Store, keys: Collection[str]) -> list[str]:
    """Return the objects that still name one of the sources: every one under the dataset is opened and searched."""
    return [info.key for info in _listed(store, "") if _holds(store, info.key, keys)]


def _holds(store: Store, name: str, keys: Collection[str]) -> bool:
    data = store.get(name)
    if not name.endswith(".parquet"):
        return any(key.encode("utf-8", "surrogatepass") in data for key in keys)
    file = ParquetReader(data)
    wanted = pa.array(sorted(keys), pa.string())
    for column in file.schema_arrow:
        values = file.read([column.name])[column.name] if _is_text(column.type) else pa.chunked_array([], pa.string())
        while pa.types.is_list(values.type):
            values = pc.list_flatten(values)
        if pc.any(pc.is_in(values, value_set=wanted)).as_py():
            return True
    return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(_is_text(kind.value_type) if pa.types.is_list(kind) else pa.types.is_string(kind))


def _columns(store: Store, version: int, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield columns of a version's parts, row by row."""
    manifest = require_manifest(store, version)
    parts = load_tables(store, manifest, "parts").parts
    yield from zip(*(parts[name].to_pylist() for name in names), strict=True)


def _plan_names(store: Store) -> Iterator[str]:
    for info in _listed(store, _PLANS):
        if info.key.endswith(".json"):
            yield info.key.removeprefix(_PLANS).removesuffix(".json")


def _listed(store: Store, folder: str) -> list[ObjectInfo]:
    return [info for page in store.list(folder) for info in page if info.is_supported]
