"""The bytes of planned sources, in the order of the plan, read ahead where the store is far away."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from types import TracebackType
from typing import Any, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from .byte_ranges import RangedBytes, rejecting
from .decode.bytes_source import Blocks, ByteSource, MemoryBytes, NamelessFile
from .errors import Reject, RejectReason, Stage
from .serial_arrow import ParquetReader
from .storage import Store, check_unchanged

#: Sources above this are not fetched whole: what decodes them reads what it needs.
RANGED_ABOVE_BYTES = 64 << 20
#: How much may wait, fetched or on its way, behind the source at hand.
PREFETCH_BYTES = 64 << 20
NUM_THREADS = 8
#: Cells that are in memory at once while a Parquet column is read.
BATCH_ROWS = 32
_MAX_WAITING = 8 * NUM_THREADS
_HASH_BYTES = 8 << 20
_BLOCK_BYTES, _NUM_BLOCKS = 4 << 20, 3
_CHUNK_ROWS = 1000
_COLUMNS = (
    "source_key",
    "num_bytes",
    "etag",
    "object_key",
    "offset_bytes",
    "row_group",
    "row",
    "unit",
    "start",
    "end",
)

_Row: TypeAlias = Mapping[str, Any]
_Data: TypeAlias = bytes


@dataclass(frozen=True, slots=True)
class OpenSource:
    """One source, or a part of one, as the reader hands it on.

    Attributes:
        source_key: which.
        num_bytes: its length; as planned where it is not in memory.
        data: its bytes, or None where it is read in ranges or has an error.
        error: why it cannot be read (missing, changed, empty, corrupt container; stage read), or None.
        bounds: start and end of the part, None for a whole source; a part's bytes are those of its whole source.
    """

    source_key: str
    num_bytes: int
    data: _Data | None = None
    error: Reject | None = None
    bounds: tuple[int, int] | None = None
    _ranges: RangedBytes | None = None

    @property
    def start(self) -> int:
        """Where the part starts, 0 for a whole source."""
        return self.bounds[0] if self.bounds else 0

    def bytes(self) -> _Data:
        """Return all bytes; where they are not in memory they are fetched now, and not kept.

        Raises:
            Reject: `error`, or the object has gone or changed since.
        """
        if self.data is not None:
            return self.data
        return self.ranged().read(0, self.num_bytes)

    def ranged(self) -> ByteSource:
        """Return random access to the bytes, from memory or in requests.

        Raises:
            Reject: `error`.
        """
        if self.error is not None:
            raise self.error
        if self.data is not None:
            return MemoryBytes(self.data)
        if self._ranges is None:
            raise AssertionError("an open source has data, ranges or an error")
        return self._ranges

    @property
    def num_bytes_fetched(self) -> int:
        """How many bytes were fetched of it until now."""
        if self.data is not None:
            return len(self.data)
        return self._ranges.num_bytes_fetched if self._ranges is not None else 0

    def sha256(self) -> str:
        """Return the hexadecimal sha256 of the bytes, reading them piece by piece where they are not in memory.

        Raises:
            Reject: `error`, or the object has gone or changed since.
        """
        source, digest = self.ranged(), hashlib.sha256()
        for offset in range(0, source.num_bytes, _HASH_BYTES):
            digest.update(source.read(offset, _HASH_BYTES))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbours that are opened together; `column` of a Parquet row group, else ""."""

    rows: Sequence[_Row]
    num_fetched_bytes: int = 0
    is_ranged: bool = False
    column: str = ""


class SourceReader:
    """Reads the sources of a table in its order; a context manager and, once, an iterator of OpenSource.

    Neighbours that share a `unit` are read together: a run of tar members with one request, a Parquet row group
    in one pass. Parts are read in ranges. On a remote store the next sources are fetched meanwhile.

    Args:
        store: opened at the inventory's root.
        rows: inventory or plan columns; others are ignored.
        check_etag: reject sources whose etag or size is not the one in the table.
        ranged_above_bytes: larger sources are not fetched, but read in ranges by what decodes them.
        prefetch_bytes: how much may wait behind the source at hand.

    Iterating raises StoreError where the store fails for other reasons than one missing or changed object.
    """

    def __init__(
        self,
        store: Store,
        rows: pa.Table,
        *,
        check_etag: bool = True,
        ranged_above_bytes: int = RANGED_ABOVE_BYTES,
        prefetch_bytes: int = PREFETCH_BYTES,
    ) -> None:
        self._store = store
        self._rows = rows
        self._check_etag = check_etag
        self._ranged_above_bytes = ranged_above_bytes
        self._prefetch_bytes = prefetch_bytes
        self._pool = None if store.is_local else ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="unlabeled-read")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __iter__(self) -> Iterator[OpenSource]:
        if self._pool is None:
            return itertools.chain.from_iterable(map(self._open, self._groups()))
        return self._ahead(self._pool)

    def _ahead(self, pool: ThreadPoolExecutor) -> Iterator[OpenSource]:
        """Open groups in order, the next ones in threads; a Parquet group streams, so it is opened in its turn."""
        waiting: deque[tuple[_Group, Future[list[OpenSource]] | None]] = deque()
        num_waiting_bytes = 0
        for group in self._groups():
            waiting.append((group, None if group.column else pool.submit(self._open_all, group)))
            num_waiting_bytes += group.num_fetched_bytes
            while num_waiting_bytes > self._prefetch_bytes or len(waiting) > _MAX_WAITING:
                num_waiting_bytes -= waiting[0][0].num_fetched_bytes
                yield from self._taken(*waiting.popleft())
        while waiting:
            yield from self._taken(*waiting.popleft())

    def _taken(self, group: _Group, future: Future[list[OpenSource]] | None) -> Iterator[OpenSource]:
        return self._open(group) if future is None else iter(future.result())

    def _open_all(self, group: _Group) -> list[OpenSource]:
        return [*self._open(group)]

    def _groups(self) -> Iterator[_Group]:
        for unit, members in itertools.groupby(self._each_row(), itemgetter("unit")):
            rows = [*members]
            num_bytes = sum(row["num_bytes"] for row in rows)
            if rows[0]["row_group"] >= 0:
                yield _Group(rows, column=unit.rpartition("/")[2])
            elif num_bytes > self._ranged_above_bytes or rows[0]["end"] >= 0:
                yield from (_Group([row], is_ranged=True) for row in rows)
            else:
                yield _Group(rows, num_fetched_bytes=num_bytes)

    def _each_row(self) -> Iterator[dict[str, Any]]:
        for batch in self._rows.select(_COLUMNS).to_batches(max_chunksize=_CHUNK_ROWS):
            rows = batch.to_pylist()
            yield from rows if self._check_etag else ({**row, "etag": ""} for row in rows)

    def _open(self, group: _Group) -> Iterator[OpenSource]:
        first = group.rows[0]
        if group.column:
            return self._open_cells(group)
        if group.is_ranged:
            return map(self._open_ranged, group.rows)
        if first["source_key"] == first["object_key"]:
            return map(self._open_object, group.rows)
        return self._open_run(group.rows)

    def _open_ranged(self, row: _Row) -> OpenSource:
        place = max(0, row["offset_bytes"])
        ranges = RangedBytes(self._store, row["object_key"], place, row["num_bytes"], row["etag"])
        bounds = (row["start"], row["end"]) if row["end"] >= 0 else None
        return OpenSource(row["source_key"], row["num_bytes"], bounds=bounds, _ranges=ranges)

    def _open_object(self, row: _Row) -> OpenSource:
        num_bytes = row["num_bytes"] if self._check_etag else -1
        try:
            with rejecting():
                return _opened(row, self._store.get_if(row["object_key"], row["etag"], num_bytes))
        except Reject as verdict:
            return _failed(row, verdict)

    def _open_run(self, rows: Sequence[_Row]) -> Iterator[OpenSource]:
        """Yield members of a tar that lie close together, from one request."""
        start = min(row["offset_bytes"] for row in rows)
        end = max(row["offset_bytes"] + row["num_bytes"] for row in rows)
        source = RangedBytes(self._store, rows[0]["object_key"], start, end - start, rows[0]["etag"])
        try:
            data = source.read(0, end - start)
        except Reject as verdict:
            yield from (_failed(row, verdict) for row in rows)
            return
        for row in rows:
            place = row["offset_bytes"] - start
            member = data[place : place + row["num_bytes"]]
            if len(member) < row["num_bytes"]:
                yield _failed(
                    row, Reject(RejectReason.CHANGED, "the archive is shorter than listed", stage=Stage.READ)
                )
            else:
                yield _opened(row, member)

    def _open_cells(self, group: _Group) -> Iterator[OpenSource]:
        """Yield cells of one row group; a failure concerns all that have not come yet."""
        wanted = [row["row"] for row in group.rows]
        cells = self._cells(group.rows[0], group.column, sorted(set(wanted)))
        if any(after <= before for before, after in itertools.pairwise(wanted)):
            kept = [*zip(sorted(set(wanted)), cells, strict=True)]
            found = dict(kept)
            cells = (found[number] for number in wanted)
        for row, cell in zip(group.rows, cells, strict=True):
            yield _failed(row, cell) if isinstance(cell, Reject) else _opened(row, cell)

    def _cells(self, first: _Row, column: str, numbers: Sequence[int]) -> Iterator[_Data | Reject | None]:
        """Yield the cells with these row numbers (ascending, of the row group of `first`), or why they cannot be."""
        num_done = 0
        try:
            with rejecting():
                info = self._store.head(first["object_key"])
                check_unchanged(info, first["etag"], -1, self._store.describe(info.key))
            ranges = RangedBytes(self._store, info.key, 0, info.num_bytes, first["etag"])
            for cell in _column_cells(ranges, first["row_group"], column, numbers):
                yield cell
                num_done += 1
        except Reject as verdict:
            yield from [verdict] * (len(numbers) - num_done)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, IndexError) as error:
            corrupt = Reject(RejectReason.CORRUPT, f"parquet: {error}", stage=Stage.READ)
            yield from [corrupt] * (len(numbers) - num_done)


def _column_cells(ranges: RangedBytes, row_group: int, column: str, numbers: Sequence[int]) -> Iterator[_Data | None]:
    blocks = Blocks(ranges, block_bytes=_BLOCK_BYTES, num_kept=_NUM_BLOCKS)
    file = ParquetReader(NamelessFile(blocks), check_pages=True)
    position = sum(file.metadata.row_group(number).num_rows for number in range(row_group))
    wanted = deque(numbers)
    for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[row_group], columns=[column]):
        cells = batch.column(0)
        if pa.types.is_struct(cells.type):
            cells = pc.struct_field(cells, 0)  # null where the struct is
        if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
            cells = cells.cast(pa.large_binary())  # UTF-8
        while wanted and wanted[0] < position + batch.num_rows:
            yield cells[wanted.popleft() - position].as_py()
        position += batch.num_rows
        if not wanted:
            return
    raise pa.ArrowInvalid(f"the row group has no row {wanted[0]}")


def _opened(row: _Row, data: _Data | None) -> OpenSource:
    if not data:
        what = "no bytes" if data is not None else "a null cell"
        return _failed(row, Reject(RejectReason.EMPTY, what, stage=Stage.READ))
    return OpenSource(row["source_key"], len(data), data)


def _failed(row: _Row, verdict: Reject) -> OpenSource:
    return OpenSource(row["source_key"], row["num_bytes"], error=verdict)
