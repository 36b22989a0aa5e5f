"""The inventory: every source under an input, from one listing, as columns sorted by source_key.

`source_key` is the object's key relative to the input root, plus `#member` (tar) or `#row` (Parquet): no scheme,
bucket or etag, so that a copy of the data elsewhere has the same inventory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .containers import index_container, is_container
from .errors import ConfigError, NotFound, RejectReason
from .external_sort import ExternalSort
from .globs import glob_pattern, include_pattern, split_glob
from .listing_file import read_listing
from .serial_arrow import sorted_by
from .source_reader import OpenSource, SourceReader
from .storage import ObjectInfo, Page, Store, StoreOptions, open_parent

__all__ = ["INVENTORY_SCHEMA", "REJECTED_SCHEMA", "Inventory", "OpenSource", "SourceReader", "take_inventory"]

#: One row a source, or a part of one that is cut (see parts.py).
#: num_bytes: its size (for a Parquet cell the mean of its row group); etag: of the object that holds it, a hint.
#: object_key: the object to read, equal to source_key for plain objects. offset_bytes: where a tar member's data
#: starts, else 0 for plain objects and -1 for Parquet. row_group, row: of a Parquet cell, else -1.
#: unit: what is read together: source_key for plain objects, `key#@<run>` for consecutive tar members up to 8 MiB,
#: `key#@<row group>/<column>` for Parquet cells. start, end: bounds of the part; (0, -1) is the whole source.
INVENTORY_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("object_key", pa.string()),
        pa.field("offset_bytes", pa.int64()),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("unit", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
    ]
)
#: One row an object or member that cannot be a source; the same source_key may stand in several rows.
REJECTED_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("message", pa.string()),
    ]
)
_NUM_INDEX_THREADS = 8
#: Objects that are kept one by one while listing; then they become columns, which take a quarter of the memory.
_CHUNK_ROWS = 1 << 16
_UNSUPPORTED = "the key has a control character, an empty, '.' or '..' segment, is not UTF-8, or names no plain file"


@dataclass(frozen=True)
class Inventory:
    """What an input holds.

    Attributes:
        root: URI of the folder that source keys are relative to; without a trailing slash.
        sources: INVENTORY_SCHEMA, sorted by (source_key, start), which are unique.
        rejected: REJECTED_SCHEMA, sorted by source_key: keys that the client cannot name, corrupt containers,
            members that are links.
        num_skipped_markers: zero-byte directory markers that were left out.
        retry_keys: rejected sources that are to be tried again, whatever their reason and attempts; None: those whose
            reject was transient and that have attempts left.
        replanned_shards: shards to plan again although their own sources are as they were.
    """

    root: str
    sources: pa.Table
    rejected: pa.Table
    num_skipped_markers: int
    retry_keys: frozenset[str] | None = None
    replanned_shards: frozenset[str] = frozenset()


def take_inventory(
    input_uri: str,
    options: StoreOptions | None = None,
    *,
    include: Sequence[str] = (),
    column: str | None = None,
    cache: Store | None = None,
    listing: str | None = None,
) -> Inventory:
    """Return the inventory of an input.

    Args:
        input_uri: a folder, one object, or a glob: `*` stands for any characters but `/`, `**` for any, and `/**/`
            also for `/`. Everything else is literal. The root is what stands before the first segment with a `*`.
        options: how to reach the store.
        include: globs on source keys; a source is kept where any matches. One without `/` is matched with the last
            segment (or member) of the key.
        column: of Parquet objects: where the media are; None: the only binary or struct<bytes, path> column.
        cache: where indices of containers are kept, usually the output dataset.
        listing: path or URI of a csv or Parquet with columns key, size, etag, used instead of listing; keys
            relative to the root.

    Raises:
        ConfigError: nothing is there, no key matches, or a column is missing or ambiguous.
        PermissionDenied, StoreError: the store refused or failed.
        UnlabeledError: local disk, where very many keys are sorted, is full or broken.
    """
    root, glob = split_glob(input_uri)
    store = Store.open(root, options)
    wanted = _Wanted(glob_pattern(glob), include_pattern(include))
    found = _Found()
    try:
        for page in read_listing(listing, store, options) if listing else store.list():
            found.add(page, wanted)
    except NotFound as error:
        raise ConfigError(f"input {input_uri!r}: {error}") from error
    if not found.num_listed and not glob and not listing:
        store = _add_single(found, input_uri, options, wanted)
    _check_found(found, input_uri, include)
    rejected = _index_containers(store, found, column, cache, wanted)
    sources, doubled = _unique(found.sources())
    all_rejected = pa.concat_tables([_rejected_table(found.rejected), *rejected, doubled])
    all_rejected = sorted_by(all_rejected, "source_key", "message")
    return Inventory(store.uri, sources, all_rejected, found.num_markers)


@dataclass(frozen=True)
class _Wanted:
    """Which objects (by key) and which sources (by source_key) the user asked for."""

    objects: re.Pattern[str]
    sources: re.Pattern[str]


class _Found:
    """What a listing gives, sorted out page by page."""

    def __init__(self) -> None:
        self.num_listed = 0
        self.num_markers = 0
        self.first_key = ""
        self.has_plain = False
        self._plain: list[tuple[str, int, str]] = []
        self._sorted = ExternalSort(INVENTORY_SCHEMA, ("source_key", "object_key"))
        self.containers: list[ObjectInfo] = []
        self.rejected: list[tuple[str, int, str, str, str]] = []

    def add(self, page: Page, wanted: _Wanted) -> None:
        """Take in one page."""
        self.first_key = self.first_key or (page[0].key if page else "")
        self.num_listed += len(page)
        for info in page:
            if info.is_marker:
                self.num_markers += 1
            elif not wanted.objects.fullmatch(info.key):
                continue
            elif info.is_supported and is_container(info.key):
                self.containers.append(info)
            else:
                self.add_plain(info, wanted)

    def sources(self) -> pa.Table:
        """Return all sources (INVENTORY_SCHEMA), sorted by source_key, then object_key. Nothing can be added after."""
        self._sorted.add(_plain_table(self._plain))
        return self._sorted.sorted()

    def add_sources(self, sources: pa.Table) -> None:
        """Take in the sources of a container (INVENTORY_SCHEMA)."""
        self._sorted.add(sources)

    def add_plain(self, info: ObjectInfo, wanted: _Wanted) -> None:
        """Take in an object that is one source, or none where the client cannot name it."""
        if not wanted.sources.fullmatch(info.key):
            return
        if info.is_supported:
            self.has_plain = True
            self._plain.append((info.key, info.num_bytes, info.etag))
            if len(self._plain) >= _CHUNK_ROWS:
                self._sorted.add(_plain_table(self._plain))
                self._plain = []
        else:
            reason = str(RejectReason.UNSUPPORTED_KEY)
            self.rejected.append((info.key, info.num_bytes, info.etag, reason, _UNSUPPORTED))


def _add_single(found: _Found, input_uri: str, options: StoreOptions | None, wanted: _Wanted) -> Store:
    """Add the one object that the input names, and return the store of the folder that holds it.

    Raises:
        ConfigError: there is no such object either.
    """
    try:
        store, key = open_parent(input_uri, options)
        found.add([store.head(key)], wanted)
    except (NotFound, ConfigError) as error:
        raise ConfigError(f"input {input_uri!r}: nothing is there, neither a folder nor an object.") from error
    return store


def _check_found(found: _Found, input_uri: str, include: Sequence[str]) -> None:
    if not found.num_listed:
        raise ConfigError(f"input {input_uri!r}: nothing is there.")
    if found.has_plain or found.containers or found.rejected:
        return
    asked = f", `include` {', '.join(include)}" if include else ""
    if found.num_markers == found.num_listed:
        raise ConfigError(f"input {input_uri!r}: nothing is there but {found.num_markers} directory markers.")
    raise ConfigError(
        f"input {input_uri!r}{asked}: none of {found.num_listed} keys matches; the first is {found.first_key!r}."
    )


def _plain_table(plain: Sequence[tuple[str, int, str]]) -> pa.Table:
    num = len(plain)
    names, sizes, etags = zip(*plain, strict=True) if num else ((), (), ())
    keys = pa.array(names, pa.string())
    columns = {
        "source_key": keys,
        "num_bytes": pa.array(sizes, pa.int64()),
        "etag": pa.array(etags, pa.string()),
        "object_key": keys,
        "offset_bytes": np.zeros(num, np.int64),
        "row_group": np.full(num, -1, np.int32),
        "row": np.full(num, -1, np.int64),
        "unit": keys,
        "start": np.zeros(num, np.int64),
        "end": np.full(num, -1, np.int64),
    }
    return pa.table(columns, INVENTORY_SCHEMA)


def _rejected_table(rows: Sequence[tuple[str, int, str, str, str]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(REJECTED_SCHEMA)
    return pa.table([list(column) for column in columns], schema=REJECTED_SCHEMA)


def _index_containers(
    store: Store, found: _Found, column: str | None, cache: Store | None, wanted: _Wanted
) -> list[pa.Table]:
    """Add the sources of all containers, and Parquet files without media as plain objects; return the rejects."""
    rejected = []
    pool = ThreadPoolExecutor(_NUM_INDEX_THREADS)
    try:
        indices = pool.map(lambda info: index_container(store, info, column, cache), found.containers)
        for info, index in zip(found.containers, indices, strict=True):
            if index is None:
                found.add_plain(info, wanted)
                continue
            good, bad = _container_tables(info, index, wanted)
            found.add_sources(good)
            rejected.append(bad)
    finally:
        pool.shutdown(cancel_futures=True)  # an error ends the run now, not after thousands of other containers
    return rejected


def _container_tables(info: ObjectInfo, index: pa.Table, wanted: _Wanted) -> tuple[pa.Table, pa.Table]:
    """Return (INVENTORY_SCHEMA, REJECTED_SCHEMA) of one container."""
    is_whole = pc.equal(index["member"], "")
    keys = pc.if_else(is_whole, info.key, pc.binary_join_element_wise(info.key, index["member"], "#"))
    key_list = keys.to_pylist()
    is_wanted = [bool(wanted.sources.fullmatch(key)) or key == info.key for key in key_list]
    constants = {
        name: pa.array([value], pa.string()).take(pa.array(np.zeros(index.num_rows, np.int32)))
        for name, value in (("etag", info.etag), ("object_key", info.key))
    }
    columns = {
        **{name: index[name] for name in index.column_names},
        **constants,
        "source_key": keys,
        "unit": pc.binary_join_element_wise(info.key, index["run"], "#@"),
        "start": np.zeros(index.num_rows, np.int64),
        "end": np.full(index.num_rows, -1, np.int64),
    }
    table = pa.table(columns).filter(pa.array(is_wanted, pa.bool_()))
    is_good = pc.equal(table["reason"], "")
    good = table.filter(is_good).select(INVENTORY_SCHEMA.names).cast(INVENTORY_SCHEMA)
    bad = table.filter(pc.invert(is_good)).select(REJECTED_SCHEMA.names).cast(REJECTED_SCHEMA)
    return good, bad


def _unique(sources: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return (sources, which are sorted, less those whose key stood before, rejects for these).

    Only a key with `#` can be taken: an object `a.tar#b` beside the member `b` of `a.tar`; the member stays.
    """
    is_first, last = [], None
    for keys in sources["source_key"].chunks:
        if not len(keys):
            continue
        before = pa.array([last], pa.string())
        is_first.append(pc.fill_null(pc.not_equal(keys, pa.concat_arrays([before, keys[:-1]])), True))
        last = keys[-1].as_py()
    mask = pa.chunked_array(is_first, pa.bool_())
    if pc.all(mask).as_py() is not False:
        return sources, REJECTED_SCHEMA.empty_table()
    doubled = sources.filter(pc.invert(mask))
    reason, message = str(RejectReason.UNSUPPORTED_KEY), "a member of a container has the same source key"
    rows = [(*row.values(), reason, message) for row in doubled.select(REJECTED_SCHEMA.names[:3]).to_pylist()]
    return sources.filter(mask), _rejected_table(rows)
