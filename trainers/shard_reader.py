"""One row group of a shard at a time: ranged reads of the columns that are wanted, every byte of them checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from ..pipeline.decode.bytes_source import NamelessFile
from ..pipeline.errors import CorruptData
from ..pipeline.parquet_pages import checked_pages, plain_values
from ..pipeline.rng import sha256_hex
from ..pipeline.serial_arrow import ParquetReader, read_footer
from ..pipeline.storage import Store
from .cache import Cache
from .units import Unit

#: A column of a unit: media of one cell a row are views of what was read, everything else is Arrow's.
Column: TypeAlias = pa.Array | list[memoryview]

#: Wanted columns with less than this between them are one request.
JOIN_BYTES = 1 << 20
#: Footers that are kept; one takes some 100 kB.
NUM_FOOTERS = 512


class ShardReader:
    """Reads units of one dataset; safe to share between threads.

    Args:
        store: of the dataset.
        columns: to read.
        cache: where what the store gave is kept.
    """

    def __init__(self, store: Store, columns: Sequence[str], cache: Cache | None = None) -> None:
        self._store = store
        self._cache = cache
        self._columns = list(columns)
        self._footers: dict[str, pq.FileMetaData] = {}
        self._lock = Lock()

    def read(self, unit: Unit) -> dict[str, Column]:
        """Return the columns of a unit by name, each of `unit.num_rows` rows; see Column.

        Raises:
            CorruptData: a page or the footer does not match its checksum; names file and row group.
            NotFound: the file is gone.
        """
        footer = self._footer(unit)
        chunks = _chunks(footer, unit.row_group, self._columns)
        source = _Pieces(unit.file_num_bytes, self._fetch(unit, chunks))
        found: dict[str, Column] = {}
        try:
            for chunk in chunks:
                pages = checked_pages(source.read(chunk.start, chunk.end - chunk.start))
                values = plain_values(pages, chunk.max_definition_level) if chunk.is_flat_media else None
                if values is not None:
                    found[chunk.column] = values
            others = [name for name in self._columns if name not in found]
            with ParquetReader(NamelessFile(source), metadata=footer) as file:
                table = file.read_row_group(unit.row_group, others)
        except (CorruptData, pa.ArrowInvalid, OSError) as error:
            raise CorruptData(f"{self._name(unit)}: {error}") from error
        found |= {name: _whole(table[name]) for name in others}
        for num_rows in {table.num_rows, *map(len, found.values())} - {unit.num_rows}:
            raise CorruptData(f"{self._name(unit)}: holds {num_rows} rows, expected {unit.num_rows}.")
        return found

    def _name(self, unit: Unit) -> str:
        return self._store.describe(unit.name)

    def _footer(self, unit: Unit) -> pq.FileMetaData:
        with self._lock:
            known = self._footers.pop(unit.file, None)
            if known is not None:
                self._footers[unit.file] = known  # last in order: the latest used
                return known
        start = unit.file_num_bytes - unit.footer_num_bytes
        data = self._get(unit, start, unit.footer_num_bytes)
        if sha256_hex(data) != unit.footer_sha256:
            raise CorruptData(
                f"{self._name(unit)}: the file's footer does not match its checksum; the file is damaged."
            )
        # The parser looks for a magic number at a file's start, and at nothing else before the footer.
        metadata = read_footer(b"PAR1" + bytes(data))
        with self._lock:
            self._footers[unit.file] = metadata
            if len(self._footers) > NUM_FOOTERS:
                del self._footers[next(iter(self._footers))]
        return metadata

    def _get(self, unit: Unit, start: int, length: int) -> bytes | memoryview:
        def fetch() -> memoryview:
            return self._store.get_view(unit.file, start, length)

        return fetch() if self._cache is None else self._cache.get(unit.sha256, start, length, fetch)

    def _fetch(self, unit: Unit, chunks: Sequence[_Chunk]) -> list[tuple[int, bytes | memoryview]]:
        """Return the bytes of the wanted columns, with where each run of them starts in the file."""
        pieces = []
        for start, end in _joined(chunks):
            data = self._get(unit, start, end - start)
            if len(data) != end - start:
                raise CorruptData(f"{self._name(unit)}: the file ends early; it is damaged.")
            pieces.append((start, data))
        return pieces


@dataclass(frozen=True)
class _Chunk:
    """A column chunk of a row group: [start, end) in the file.

    is_flat_media: stored media, one cell a row and not compressed again.
    """

    column: str
    start: int
    end: int
    is_flat_media: bool
    max_definition_level: int


def _chunks(footer: pq.FileMetaData, row_group: int, columns: Sequence[str]) -> list[_Chunk]:
    """Return the wanted column chunks in the order of the file."""
    group = footer.row_group(row_group)
    chunks = []
    for index in range(group.num_columns):
        chunk = group.column(index)
        name, _, inside = chunk.path_in_schema.partition(".")
        if name in columns:
            begins = (chunk.dictionary_page_offset, chunk.data_page_offset)
            start = min(begin for begin in begins if begin is not None)
            is_flat_media = inside == "bytes" and chunk.compression == "UNCOMPRESSED"
            levels = footer.schema.column(index).max_definition_level
            chunks.append(_Chunk(name, start, start + chunk.total_compressed_size, is_flat_media, levels))
    return sorted(chunks, key=lambda chunk: chunk.start)


def _joined(chunks: Sequence[_Chunk]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of chunks with little between them."""
    start, end = 0, 0
    for chunk in chunks:
        if end and chunk.start - end > JOIN_BYTES:
            yield start, end
            end = 0
        start, end = (start if end else chunk.start), max(end, chunk.end)
    if end:
        yield start, end


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


class _Pieces:
    """The bytes of a file of which some runs are in memory; nothing else can be read."""

    def __init__(self, num_bytes: int, pieces: Sequence[tuple[int, bytes | memoryview]]) -> None:
        self._num_bytes = num_bytes
        self._pieces = pieces

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def read(self, offset: int, length: int) -> Any:
        """Return a view: Arrow reads from it without a copy."""
        for start, data in self._pieces:
            first = offset - start
            if first >= 0 and first + length <= len(data):
                return memoryview(data)[first : first + length]
        raise OSError(f"bytes {offset} to {offset + length} are none of the wanted columns'")
