"""Writing one shard: rows to a Parquet file on local disk, the same rows always to the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .config import ShardSettings
from .encode import cell_encoder
from .errors import UnlabeledError
from .features import MEDIA_TYPE, Feature, Features
from .ledger import RowGroup
from .serial_arrow import read_footer

_MAX_REPEATED_BYTES = 2**30
_NOTHING: Mapping[str, Any] = MappingProxyType({})
#: A row's own cells, about how many bytes it takes, and the cells that it shares with its neighbours.
Row = tuple[Mapping[str, Any], int, Mapping[str, Any]]
_NUMBERS = frozenset({int, float, bool})


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A finished file: where it lies and what a receipt says of it."""

    path: Path
    sha256: str
    num_bytes: int
    num_rows: int
    footer_sha256: str
    footer_num_bytes: int
    row_groups: tuple[RowGroup, ...]


class ShardFileWriter:
    """Writes rows in the order given. Row groups end after a bundle, by number of rows and bytes alone.

    Args:
        path: of the file to write; nothing stands there until the first row.
        features: the columns, envelope included.
        spec: for the schema metadata `unlabeled`; must not hold times, hosts or run ids.
        settings: sizes of row groups.
        bundle_size: rows that stay in one row group.
        repeated: a column of pictures that are the same in neighbouring rows: each is stored once a row group.
    """

    def __init__(
        self,
        path: Path,
        features: Features,
        spec: Mapping[str, Any],
        settings: ShardSettings,
        bundle_size: int,
        *,
        repeated: str = "",
    ) -> None:
        self._path = path
        self._features = features
        self._schema = features.arrow_schema(spec)
        self._settings = settings
        self._bundle_size = bundle_size
        self._repeated = repeated
        self._encoders: dict[str, Callable[[Any], Any]] = {name: _row_encoder(feature) for name, feature in features}
        self._rows: list[Row] = []
        #: Rows before these, as pieces of batches: (batch, first row, end).
        self._pieces: list[tuple[pa.RecordBatch, int, int]] = []
        self._num_pending_rows = 0
        self._num_pending_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self.num_rows = 0

    def encode(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Return values of columns as Arrow cells, and about how many bytes they are.

        A row may be encoded in parts, so that what many rows share is encoded once.
        """
        cells = {name: self._encoders[name](value) for name, value in values.items()}
        return cells, num_cell_bytes(cells)

    def append(self, cells: Mapping[str, Any], num_bytes: int, shared: Mapping[str, Any] = _NOTHING) -> None:
        """Append one row, all of its columns, as `encode` returned them; every row has the same own `cells`.

        `shared`: the rest, one and the same object for neighbours: their columns are then made once.
        """
        self._rows.append((cells, num_bytes, shared))
        self._count(num_bytes)

    def append_from(self, batch: pa.RecordBatch, row: int, num_bytes: int) -> None:
        """Append one row of a batch that `batch_of` returned."""
        self._to_pieces()
        if self._pieces and self._pieces[-1][0] is batch and self._pieces[-1][2] == row:
            self._pieces[-1] = (batch, self._pieces[-1][1], row + 1)
        else:
            self._pieces.append((batch, row, row + 1))
        self._count(num_bytes)

    def batch_of(self, rows: Sequence[Row]) -> pa.RecordBatch:
        """Return rows as Arrow columns: a fraction of the memory that they take as objects of Python."""
        return pa.RecordBatch.from_arrays(
            [_column(name, feature, rows) for name, feature in self._features], schema=self._schema
        )

    def end_bundle(self) -> None:
        """Say that a bundle is complete: here, and only here, a row group may end."""
        full = self._num_pending_rows + self._bundle_size > self._settings.row_group_max_rows
        if full or self._num_pending_bytes >= self._settings.row_group_max_num_bytes:
            self._flush()

    def finish(self) -> ShardFile | None:
        """Close the file and return what it is; None where no row was added."""
        self._flush()
        if self._writer is None:
            return None
        with named_disk_faults(self._path.parent):
            self._writer.close()
            return describe(self._path)

    def abort(self) -> None:
        """Close and remove the file."""
        if self._writer is not None:
            # What the disk could not take is dropped anyway.
            with contextlib.suppress(OSError):
                self._writer.close()
        self._path.unlink(missing_ok=True)

    def _count(self, num_bytes: int) -> None:
        self.num_rows += 1
        self._num_pending_rows += 1
        self._num_pending_bytes += num_bytes

    def _to_pieces(self) -> None:
        if self._rows:
            self._pieces.append((self.batch_of(self._rows), 0, len(self._rows)))
            self._rows = []

    def _flush(self) -> None:
        self._to_pieces()
        if not self._pieces:
            return
        batch = _joined([piece.slice(first, end - first) for piece, first, end in self._pieces])
        with named_disk_faults(self._path.parent):
            if self._writer is None:
                self._writer = _open_writer(self._path, self._features, self._schema, self._repeated)
            self._writer.write_batch(batch, row_group_size=batch.num_rows)
        self._pieces, self._num_pending_rows, self._num_pending_bytes = [], 0, 0


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return batches as one; a table of several would be cut into other pages."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _column(name: str, feature: Feature, rows: Sequence[Row]) -> pa.Array:
    if name in rows[0][0]:
        return _array(feature, [cells[name] for cells, _, _ in rows])
    distinct: list[Any] = []
    places = np.empty(len(rows), np.int64)
    last: Mapping[str, Any] | None = None
    for row, (_, _, shared) in enumerate(rows):
        if shared is not last:
            distinct.append(shared[name])
            last = shared
        places[row] = len(distinct) - 1
    return _array(feature, distinct).take(pa.array(places))


@contextlib.contextmanager
def named_disk_faults(folder: Path) -> Iterator[None]:
    """Name the folder of a local disk that is full or broken: no source and no store is to blame.

    Raises:
        UnlabeledError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UnlabeledError(
            f"{folder}: a shard cannot grow on this machine's disk: {error}. Make room or let TMPDIR name another "
            "disk, and run the same command again to resume."
        ) from error


def _open_writer(path: Path, features: Features, schema: pa.Schema, repeated: str) -> pq.ParquetWriter:
    """Scalars are zstd with dictionaries; media are stored as they are, since their codec has compressed them.

    Media that repeat have dictionaries, too, which hold each of them once: as large as a row group, where needed.
    """
    scalar_paths = [path for name, feature in features for path in _leaf_paths(name, feature)]
    return pq.ParquetWriter(
        path,
        schema,
        compression=dict.fromkeys(scalar_paths, "zstd"),
        compression_level=dict.fromkeys(scalar_paths, 3),
        use_dictionary=[
            *(path for path in scalar_paths if not path.startswith("example_id")),
            *([f"{repeated}.bytes"] if repeated else []),
        ],
        dictionary_pagesize_limit=_MAX_REPEATED_BYTES if repeated else None,
        write_statistics=scalar_paths,
        write_page_checksum=True,
        version="2.6",
    )


def _leaf_paths(name: str, feature: Feature) -> list[str]:
    stem = ".".join([name, *["list.element"] * len(feature.shape)])
    if feature.kind in ("image", "audio"):
        return [f"{stem}.path"]
    if feature.kind == "box":
        return [f"{stem}.{corner}" for corner in ("x", "y", "w", "h")]
    return [stem]


def _row_encoder(feature: Feature) -> Callable[[Any], Any]:
    """Return `cell_encoder` of a feature, but that arrays of numbers stay arrays: lists take ten times the memory.

    Copies of them: rows wait, and a task may go on to use its own for the next example.
    """
    encode = cell_encoder(feature)
    if feature.kind != "value" or len(feature.shape) != 1:
        return encode
    return lambda values: values.copy() if isinstance(values, np.ndarray) else encode(values)


def _array(feature: Feature, cells: list[Any]) -> pa.Array:
    if isinstance(cells[0], np.ndarray) and all(isinstance(cell, np.ndarray) for cell in cells):
        return _list_array(cells, feature.arrow_type)
    if feature.kind in ("image", "audio") and not feature.shape and None not in cells:
        data = _binary_array([cell["bytes"] for cell in cells])
        return pa.StructArray.from_arrays([data, pa.nulls(len(cells), pa.string())], fields=list(MEDIA_TYPE))
    return pa.array(cells, feature.arrow_type)


def _list_array(cells: Sequence[NDArray[Any]], arrow_type: pa.ListType) -> pa.Array:
    offsets = np.zeros(len(cells) + 1, np.int32)
    np.cumsum([len(cell) for cell in cells], out=offsets[1:])
    values = pa.array(np.concatenate(cells), arrow_type.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=arrow_type)


def _binary_array(values: list[bytes]) -> pa.Array:
    """Return binary values as an Arrow array: one join, where pa.array copies as it grows (seven times slower)."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(data) for data in values], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def num_cell_bytes(cells: Mapping[str, Any]) -> int:
    """Return about how many bytes a row's cells take."""
    return sum(map(_num_bytes, cells.values()))


def _num_bytes(cell: Any) -> int:
    kind = type(cell)
    if kind is str or kind is bytes:
        return len(cell)
    if kind is dict:
        data = cell.get("bytes")
        return len(data) if data is not None else 16
    if kind is np.ndarray:
        return 8 * len(cell)
    if kind is not list:
        return 8
    # A column's values are of one kind: where one is a number, the others are numbers or null, and take the same.
    return 8 * len(cell) if cell and type(cell[0]) in _NUMBERS else sum(map(_num_bytes, cell))


def describe(path: Path) -> ShardFile:
    """Return size, digests and row groups of a Parquet file on disk."""
    with path.open("rb") as file:
        metadata = read_footer(file)
    digest, num_bytes = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
        file.seek(num_bytes - 8)
        footer_num_bytes = int.from_bytes(file.read(4), "little") + 8
        file.seek(num_bytes - footer_num_bytes)
        footer = file.read()
    return ShardFile(
        path=path,
        sha256=digest.hexdigest(),
        num_bytes=num_bytes,
        num_rows=metadata.num_rows,
        footer_sha256=hashlib.sha256(footer).hexdigest(),
        footer_num_bytes=footer_num_bytes,
        row_groups=tuple(_row_group(metadata.row_group(index)) for index in range(metadata.num_row_groups)),
    )


def _row_group(group: Any) -> RowGroup:
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [
        column.dictionary_page_offset if column.dictionary_page_offset is not None else column.data_page_offset
        for column in columns
    ]
    num_bytes = sum(column.total_compressed_size for column in columns)
    return RowGroup(num_rows=group.num_rows, offset_bytes=min(starts), num_bytes=num_bytes)
