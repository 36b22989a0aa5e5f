"""A listing that the user already has, instead of asking the store for one: csv or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from .errors import ConfigError, NotFound, nearest
from .serial_arrow import read_csv, read_parquet
from .storage import ObjectInfo, Page, Store, StoreOptions, open_parent

COLUMNS = {"key": pa.string(), "size": pa.int64(), "etag": pa.string()}
_PAGE_ROWS = 10_000


def read_listing(where: str, inputs: Store, options: StoreOptions | None = None) -> Iterator[Page]:
    """Yield the objects that a listing file names, in pages.

    Args:
        where: path or URI of a csv with a header line, or a Parquet file (`.parquet`), with columns `key`
            (relative to the input root), `size` (bytes) and, where known, `etag`; other columns are ignored.
        inputs: the input root.
        options: how to reach a remote file.

    Raises:
        ConfigError: it does not exist, lacks a column, has a value of another type, or names a key twice.
    """
    table = _checked(_read(where, options), where)
    unknown_time = datetime.fromtimestamp(0, UTC)
    for batch in table.to_batches(max_chunksize=_PAGE_ROWS):
        yield [
            ObjectInfo(key, size, etag, unknown_time, is_supported=inputs.can_name(key))
            for key, size, etag in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]


def _read(where: str, options: StoreOptions | None) -> pa.Table:
    store, key = open_parent(where, options)
    try:
        data = store.get(key)
    except NotFound as error:
        raise ConfigError(f"`listing`: {error}") from error
    try:
        if key.endswith(".parquet"):
            return read_parquet(data)
        return read_csv(data, COLUMNS)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"`listing`: {where} cannot be read: {error}") from error


def _checked(table: pa.Table, where: str) -> pa.Table:
    for name in ("key", "size"):
        if name not in table.column_names:
            found = ", ".join(table.column_names)
            hint = nearest(name, table.column_names)
            raise ConfigError(f"`listing`: {where} has no column {name!r}; it has: {found}.{hint}")
    if "etag" not in table.column_names:
        table = table.append_column("etag", pa.nulls(table.num_rows, pa.string()))
    try:
        table = table.select(list(COLUMNS)).cast(pa.schema(COLUMNS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"`listing`: {where}: columns must be key text, size integer, etag text: {error}") from error
    keys, sizes = table["key"], table["size"]
    if keys.null_count or sizes.null_count or pc.any(pc.less(sizes, 0)).as_py():
        raise ConfigError(f"`listing`: {where} has a row without key or size, or with a negative size.")
    counts = pc.value_counts(keys)
    if len(counts) < len(keys):
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        raise ConfigError(f"`listing`: {where} names {twice.as_py()!r} more than once.")
    return table.set_column(2, "etag", pc.fill_null(table["etag"], ""))
