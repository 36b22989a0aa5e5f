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
from .serial_arrow import repeated, sorted_by

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
    if not base_parts.num_rows:
        return _all_new(sources)
    names, base_names = part_names(sources), part_names(base_parts)
    place = _index_in(names, base_names)
    known = np.flatnonzero(place >= 0)
    is_same = _same_hint(_hints(sources, known), _hints(base_parts, place[known], "sha256"), checked)
    doubtful = known[~is_same]
    changed_rows, fresh = _really_changed(sources, base_parts, place, doubtful, hash_sources)
    gone = np.flatnonzero(_index_in(base_names, names) < 0)

    used = pc.equal(base_parts["status"], "used").to_numpy()
    changed_parts = place[changed_rows]
    retried = _retried(base_parts, retry_keys, set(changed_parts.tolist()) | set(gone.tolist()))
    touched = [part for part in [*changed_parts.tolist(), *gone.tolist()] if used[part]]
    asked = pc.is_in(base_parts["shard_id"], value_set=pa.array([*replanned_shards], pa.string()))
    dropped_shards = {
        *base_parts["shard_id"].take(np.array(touched, np.int64)).to_pylist(),
        *pc.unique(base_parts["shard_id"].filter(asked)).to_pylist(),
    }
    quiet = [part for part in [*changed_parts.tolist(), *gone.tolist()] if not used[part]]

    source_of_part = np.full(base_parts.num_rows, -1)
    source_of_part[place[known]] = known
    versions = {int(place[row]): fresh[row] for row in changed_rows.tolist()}
    anew = [part for part in [*quiet, *retried.tolist()] if source_of_part[part] >= 0]
    keys = sources["source_key"]
    of_changed = {keys[row].as_py(): fresh[row] for row in changed_rows.tolist()}
    return Changes(
        new=_new_sources(sources, base_parts, np.flatnonzero(place < 0), of_changed, source_of_part, anew, versions),
        removed=_named(base_parts, [*quiet, *retried.tolist()]),
        replanned=_remains(sources, base_parts, dropped_shards, source_of_part, versions, set(anew)),
        checked=_checked(sources, doubtful, set(changed_rows.tolist()), fresh),
    )


def _all_new(sources: pa.Table) -> Changes:
    """Return the changes to a first version; of millions of sources nothing is copied."""
    new = sources
    for name, value in (("content_version", pa.scalar("")), ("attempt", pa.scalar(0, pa.int32()))):
        new = new.append_column(name, repeated(value, sources.num_rows))
    nothing = REMOVED_SCHEMA.empty_table()
    return Changes(new=new, removed=nothing, replanned={}, checked=CHECKED_SCHEMA.empty_table())


def _hints(table: pa.Table, rows: NDArray[np.int64], *more: str) -> pa.Table:
    """Return what is compared first of some rows."""
    return table.select(["source_key", "etag", "num_bytes", *more]).take(rows)


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
    is_same: NDArray[np.bool_] = same.to_numpy().copy()
    seen = set(zip(*(checked[name].to_pylist() for name in CHECKED_SCHEMA.names), strict=True))
    rows = np.flatnonzero(~is_same) if seen else np.array([], np.int64)
    doubtful = sources.select(["source_key", "etag", "num_bytes"]).take(rows)
    listed = zip(*(column.to_pylist() for column in (*doubtful.columns, parts["sha256"].take(rows))), strict=True)
    is_same[rows] = [row in seen for row in listed]
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
    never_seen: NDArray[np.int64],
    of_changed: Mapping[str, str],
    source_of_part: NDArray[np.int64],
    anew: list[int],
    versions: Mapping[int, str],
) -> pa.Table:
    """Return the rows to plan from scratch: never seen, or of parts that gave no rows.

    `of_changed` has the sha256 of sources that have changed, `versions` that of parts which have.
    """
    # A changed object starts over; one that is tried again counts on.
    again = [0 if part in versions else parts["attempt"][part].as_py() + 1 for part in anew]
    table = sources.take(np.concatenate([never_seen, source_of_part[anew]]))
    content = pa.repeat("", len(never_seen))
    if of_changed:
        keys = sources["source_key"].take(never_seen).to_pylist()
        content = pa.array([of_changed.get(key, "") for key in keys], pa.string())
    content = pa.concat_arrays([content, pa.array([versions.get(part, "") for part in anew], pa.string())])
    table = table.append_column("content_version", content)
    attempts = np.concatenate([np.zeros(len(never_seen), np.int32), np.array(again, np.int32)])
    return table.append_column("attempt", pa.array(attempts))


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
    for shard in sorted(dropped_shards):
        mine = np.flatnonzero(pc.equal(parts["shard_id"], shard).to_numpy(zero_copy_only=False))
        mine = np.array([part for part in mine if source_of_part[part] >= 0 and part not in anew], np.int64)
        known = parts["content_version"].take(mine).to_pylist()
        content = [versions.get(part, version) for part, version in zip(mine.tolist(), known, strict=True)]
        table = sources.take(source_of_part[mine])
        remains[shard] = table.append_column("content_version", pa.array(content, pa.string()))
    return remains


def _checked(sources: pa.Table, doubtful: NDArray[np.int64], changed: set[int], fresh: Mapping[int, str]) -> pa.Table:
    rows = [int(row) for row in doubtful if int(row) not in changed]
    table = sources.take(np.array(rows, np.int64)).select(["source_key", "etag", "num_bytes"])
    return table.append_column("sha256", pa.array([fresh[row] for row in rows], pa.string())).cast(CHECKED_SCHEMA)
