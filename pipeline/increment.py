"""What a new inventory means for a dataset that stands: which sources are new, changed, gone, or to be tried again.

An etag is a hint only: same etag and size count as unchanged; anything else is hashed before it counts as changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .parts import part_names
from .plan import MAX_ATTEMPTS
from .serial_arrow import sorted_by

#: Returns the sha256 of the sources in a table (inventory columns), by source_key; a key that is gone is left out.
Hasher = Callable[[pa.Table], Mapping[str, str]]


@dataclass(frozen=True)
class Changes:
    """How an inventory differs from a base version.

    new: inventory rows to plan from scratch, with `attempt` (0 for sources never seen).
    removed: parts of the base that the next version drops, because they are gone or planned anew (REMOVED_SCHEMA).
    replanned: shard_id -> inventory rows that remain of it, with `content_version`; empty where nothing remains.
    checked: rows whose etag is new but whose content is the same: source_key, etag, num_bytes, sha256.
    """

    new: pa.Table
    removed: pa.Table
    replanned: Mapping[str, pa.Table]
    checked: pa.Table

    @property
    def is_empty(self) -> bool:
        """True where the next version would equal the base."""
        return self.new.num_rows == 0 and not self.removed.num_rows and not self.replanned


REMOVED_SCHEMA = pa.schema([pa.field("source_key", pa.string()), pa.field("start", pa.int64())])
CHECKED_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("sha256", pa.string()),
    ]
)


def compare(
    sources: pa.Table,
    base_parts: pa.Table,
    checked: pa.Table,
    hash_sources: Hasher,
    *,
    retry_keys: Collection[str] | None = None,
    replanned_shards: Collection[str] = (),
) -> Changes:
    """Return how `sources` (inventory columns) differ from the parts of a base version.

    Parts are compared by source and start. A source that has changed has all its parts planned again: each stays in
    the shard of the part that started there, what starts elsewhere is new.

    Args:
        sources: what is listed now.
        base_parts: the base's parts table, without settled ones (no shard).
        checked: etags that earlier runs found to be of unchanged content (CHECKED_SCHEMA).
        hash_sources: reads and hashes sources whose etag or size is new.
        retry_keys: rejected sources to try again, whatever their reason and attempts; None: those whose reject was
            transient and that have attempts left.
        replanned_shards: shards to plan again although their own parts are as they were.
    """
    names, base_names = part_names(sources), part_names(base_parts)
    place = _index_in(names, base_names)
    known = np.flatnonzero(place >= 0)
    is_same = _same_hint(sources.take(known), base_parts.take(place[known]), checked)
    doubtful = known[~is_same]
    changed_rows, fresh = _really_changed(sources, base_parts, place, doubtful, hash_sources)
    gone = np.flatnonzero(_index_in(base_names, names) < 0)

    used = np.array(base_parts["status"].to_pylist(), dtype=object) == "used"
    changed_parts = place[changed_rows]
    retried = _retried(base_parts, retry_keys, set(changed_parts.tolist()) | set(gone.tolist()))
    touched = [part for part in [*changed_parts.tolist(), *gone.tolist()] if used[part]]
    shard_ids = base_parts["shard_id"].to_pylist()
    dropped_shards = {shard_ids[part] for part in touched} | (set(replanned_shards) & set(shard_ids))
    quiet = [part for part in [*changed_parts.tolist(), *gone.tolist()] if not used[part]]

    source_of_part = np.full(base_parts.num_rows, -1)
    source_of_part[place[known]] = known
    versions = {int(place[row]): fresh[row] for row in changed_rows.tolist()}
    anew = [part for part in [*quiet, *retried.tolist()] if source_of_part[part] >= 0]
    keys = sources["source_key"]
    of_changed = {keys[row].as_py(): fresh[row] for row in changed_rows.tolist()}
    never_seen = dict.fromkeys(np.flatnonzero(place < 0).tolist(), "")
    if of_changed:
        never_seen = {row: of_changed.get(keys[row].as_py(), "") for row in never_seen}
    return Changes(
        new=_new_sources(sources, base_parts, never_seen, source_of_part, anew, versions),
        removed=_named(base_parts, [*quiet, *retried.tolist()]),
        replanned=_remains(sources, base_parts, dropped_shards, source_of_part, versions, set(anew)),
        checked=_checked(sources, doubtful, set(changed_rows.tolist()), fresh),
    )


def _named(parts: pa.Table, rows: list[int]) -> pa.Table:
    """Return which parts stand in `rows`, sorted."""
    named = parts.take(np.array(rows, np.int64)).select(REMOVED_SCHEMA.names)
    return sorted_by(named, "source_key", "start").cast(REMOVED_SCHEMA)


def _index_in(keys: pa.ChunkedArray, known: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return where each key stands in `known`, -1 where it does not."""
    index = pc.fill_null(pc.index_in(keys, value_set=known), -1)
    return np.asarray(index.to_numpy(), np.int64)


def _same_hint(sources: pa.Table, parts: pa.Table, checked: pa.Table) -> NDArray[np.bool_]:
    same_size = pc.equal(sources["num_bytes"], parts["num_bytes"])
    same = pc.and_(same_size, pc.equal(sources["etag"], parts["etag"]))
    # A rejected source has no sha256 to compare with; only its hint can say that it is the same.
    seen = set(zip(*(checked[name].to_pylist() for name in CHECKED_SCHEMA.names), strict=True))
    listed = zip(
        *(sources[name].to_pylist() for name in ("source_key", "etag", "num_bytes")),
        parts["sha256"].to_pylist(),
        strict=True,
    )
    was_checked = np.array([row in seen for row in listed], bool) if seen else np.zeros(sources.num_rows, bool)
    is_same: NDArray[np.bool_] = same.to_numpy() | was_checked
    return is_same


def _really_changed(
    sources: pa.Table, parts: pa.Table, place: NDArray[np.int64], doubtful: NDArray[np.int64], hash_sources: Hasher
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return (rows of `sources` whose content differs from the base, row -> sha256 as read now)."""
    if not len(doubtful):
        return doubtful, {}
    digests = hash_sources(sources.take(doubtful))
    keys = sources["source_key"].take(doubtful).to_pylist()
    fresh = {int(row): digests.get(key, "") for row, key in zip(doubtful, keys, strict=True)}
    recorded = parts["sha256"].take(place[doubtful]).to_pylist()
    differs = [not old or fresh[int(row)] != old for row, old in zip(doubtful, recorded, strict=True)]
    return doubtful[np.array(differs, bool)], fresh


def _retried(parts: pa.Table, keys: Collection[str] | None, excluded: set[int]) -> NDArray[np.int64]:
    """Return the rejected parts among `keys`; without, those whose reject was transient and that have tries left."""
    wanted = pc.equal(parts["status"], "rejected")
    if keys is None:
        wanted = pc.and_(wanted, pc.invert(parts["is_permanent"]))
        wanted = pc.and_(wanted, pc.less(parts["attempt"], MAX_ATTEMPTS - 1))
    else:
        wanted = pc.and_(wanted, pc.is_in(parts["source_key"], value_set=pa.array(sorted(keys), pa.string())))
    rows = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
    return np.array([row for row in rows if row not in excluded], np.int64)


def _new_sources(
    sources: pa.Table,
    parts: pa.Table,
    never_seen: Mapping[int, str],
    source_of_part: NDArray[np.int64],
    anew: list[int],
    versions: Mapping[int, str],
) -> pa.Table:
    """Return the rows to plan from scratch: never seen (row -> content version), or of parts that gave no rows."""
    attempts = parts["attempt"].to_pylist()
    # A changed object starts over; one that is tried again counts on.
    again = [0 if part in versions else attempts[part] + 1 for part in anew]
    table = sources.take(np.array([*never_seen, *(int(source_of_part[part]) for part in anew)], np.int64))
    content = [*never_seen.values(), *(versions.get(part, "") for part in anew)]
    table = table.append_column("content_version", pa.array(content, pa.string()))
    return table.append_column("attempt", pa.array([0] * len(never_seen) + again, pa.int32()))


def _remains(
    sources: pa.Table,
    parts: pa.Table,
    dropped_shards: set[str],
    source_of_part: NDArray[np.int64],
    versions: Mapping[int, str],
    anew: set[int],
) -> dict[str, pa.Table]:
    """Return what each dropped shard keeps: neither what is gone nor what is planned anew elsewhere."""
    remains = {}
    content_versions = parts["content_version"].to_pylist()
    for shard in sorted(dropped_shards):
        mine = np.flatnonzero(pc.equal(parts["shard_id"], shard).to_numpy(zero_copy_only=False))
        mine = np.array([part for part in mine if source_of_part[part] >= 0 and part not in anew], np.int64)
        content = [versions.get(int(part), content_versions[part]) for part in mine]
        table = sources.take(source_of_part[mine])
        remains[shard] = table.append_column("content_version", pa.array(content, pa.string()))
    return remains


def _checked(sources: pa.Table, doubtful: NDArray[np.int64], changed: set[int], fresh: Mapping[int, str]) -> pa.Table:
    rows = [int(row) for row in doubtful if int(row) not in changed]
    table = sources.take(np.array(rows, np.int64)).select(["source_key", "etag", "num_bytes"])
    return table.append_column("sha256", pa.array([fresh[row] for row in rows], pa.string())).cast(CHECKED_SCHEMA)
