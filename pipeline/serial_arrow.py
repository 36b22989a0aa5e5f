"""Arrow work that stays in the calling thread: reading Parquet and csv, sorting, grouping.

Arrow's pool threads may hold the last reference to an object of Python (a file, bytes, an array's memory) a moment
longer than the call that used it. If the interpreter exits in that moment, such a thread asks for the lock of an
interpreter that is gone, and the process aborts after its work was done (apache/arrow issues 34314, 38352 and 45017).
Nothing here gives a pool thread anything of Python's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_CHUNK_ROWS = 1 << 16


class ParquetReader(pq.ParquetFile):  # type: ignore[misc]
    """A Parquet file, from bytes or an open file, that reads in the calling thread and nothing ahead.

    Args:
        source: the whole file, or a seekable file that is open for reading.
        check_pages: compare every page that is read with its checksum; for files that nothing else vouches for.
        metadata: the footer, where it is known.
        extensions: extension types are those of Arrow (True) or their storage (False).

    Raises:
        pyarrow.ArrowInvalid, OSError: it is no Parquet file, or a page is damaged (also when reading).
    """

    def __init__(
        self,
        source: bytes | IO[bytes] | io.RawIOBase,
        *,
        check_pages: bool = False,
        metadata: pq.FileMetaData | None = None,
        extensions: bool = True,
    ) -> None:
        super().__init__(
            _opened(source),
            metadata=metadata,
            page_checksum_verification=check_pages,
            arrow_extensions_enabled=extensions,
            pre_buffer=False,
        )

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows."""
        return super().read(columns, use_threads=False)

    def read_row_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of one row group."""
        return super().read_row_group(index, columns, use_threads=False)

    def iter_batches(
        self,
        batch_size: int = 65536,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of at most `batch_size`."""
        return super().iter_batches(batch_size, row_groups, columns, use_threads=False)  # type: ignore[no-any-return]


def read_parquet(data: bytes) -> pa.Table:
    """Return the table that a Parquet file holds, given as bytes.

    Raises:
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    return ParquetReader(data).read()


def read_footer(source: bytes | IO[bytes] | io.RawIOBase) -> pq.FileMetaData:
    """Return the footer of a Parquet file.

    Raises:
        pyarrow.ArrowInvalid, OSError: it is no Parquet file.
    """
    return pq.read_metadata(_opened(source))


def read_csv(data: bytes, column_types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the table of a csv with a header line; values may hold line breaks, and empty text is not null.

    Raises:
        pyarrow.ArrowInvalid: it is no csv, or a value is not of its column's type.
    """
    # The reader works ahead in a thread even so; what that holds is a copy that belongs to Arrow.
    copy = pa.allocate_buffer(len(data))
    pa.FixedSizeBufferWriter(copy).write(data)
    return pyarrow.csv.read_csv(
        pa.BufferReader(copy),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict(column_types), strings_can_be_null=False),
    )


def sorted_by(table: pa.Table, *columns: str) -> pa.Table:
    """Return `table` in ascending order of `columns`, the first being the major one; equal rows keep their order."""
    return taken(table, pc.sort_indices(table, sort_keys=[(column, "ascending") for column in columns]))


def taken(table: pa.Table, rows: pa.Array) -> pa.Table:
    """Return some rows of a table; columns that are one in memory stay one."""
    made: dict[tuple[object, ...], pa.ChunkedArray] = {}
    columns = []
    for column in table.columns:
        place = (column.type, *((_addresses(chunk), chunk.offset, len(chunk)) for chunk in column.chunks))
        if place not in made:
            made[place] = column.take(rows)
        columns.append(made[place])
    return pa.Table.from_arrays(columns, schema=table.schema)


def repeated(value: pa.Scalar, num_rows: int) -> pa.ChunkedArray:
    """Return a column of one value, which takes no more memory for more rows."""
    chunk = pa.repeat(value, min(num_rows, _CHUNK_ROWS))
    chunks = [chunk] * (num_rows // _CHUNK_ROWS)
    return pa.chunked_array([*chunks, chunk.slice(0, num_rows % _CHUNK_ROWS)], value.type)


def sums(table: pa.Table, by: str, column: str) -> dict[Any, int]:
    """Return the sum of `column` for each value of `by`."""
    grouped = table.group_by(by, use_threads=False).aggregate([(column, "sum")])
    return dict(zip(grouped[by].to_pylist(), grouped[f"{column}_sum"].to_pylist(), strict=True))


def _addresses(array: pa.Array) -> tuple[int, ...]:
    return tuple(buffer.address if buffer is not None else 0 for buffer in array.buffers())


def _opened(source: bytes | IO[bytes] | io.RawIOBase) -> pa.NativeFile:
    return pa.BufferReader(source) if isinstance(source, bytes) else pa.PythonFile(source, mode="r")
