"""Many shard files to one: the same rows in the same order, row groups cut anew, and a digest that says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from .errors import CorruptData
from .manifest import Manifest
from .rendering import CROP
from .rng import sha256_hex
from .serial_arrow import ParquetReader
from .shard_file import ShardFile, ShardFileWriter, num_cell_bytes
from .storage import Store


@dataclass
class RowsDigest:
    """A fingerprint of rows that no order changes: the sum of their sha256, modulo 2**256."""

    num_rows: int = 0
    total: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one row, cells as Arrow gives them to Python."""
        digest = hashlib.sha256()
        for name, cell in row.items():
            digest.update(name.encode())
            _feed(digest, cell)
        self.num_rows += 1
        self.total = (self.total + int.from_bytes(digest.digest(), "big")) % 2**256

    def hex(self) -> str:
        """Return the digest, 64 hexadecimal digits."""
        return f"{self.total:064x}"


def rows_digest(data: bytes) -> RowsDigest:
    """Return the digest of all rows of a shard file."""
    found = RowsDigest()
    for row in _rows(data):
        found.add(row)
    return found


def merge(store: Store, manifest: Manifest, shards: Sequence[Mapping[str, Any]], path: Path) -> ShardFile | None:
    """Write the rows of `shards` (rows of the shards table, in order) to one file at `path` and return what it is.

    None where they have no rows. The file is read back, and its rows compared with what went in.

    Raises:
        CorruptData: a file's bytes are not what the manifest says.
        NotFound: a file is gone.
    """
    spec = {
        "recipe": manifest.recipe.model_dump(mode="json"),
        "features": manifest.features,
        "objective": manifest.objective,
        "batching": {"kind": manifest.batching, "bundle_size": manifest.bundle_size},
    }
    writer = ShardFileWriter(
        path,
        manifest.typed_features(),
        spec,
        manifest.recipe.shard,
        manifest.bundle_size,
        repeated=CROP if manifest.rendering else "",
    )
    digest = RowsDigest()
    try:
        for shard in shards:
            if shard["file"]:
                _append(writer, _rows(_checked(store, shard)), manifest.bundle_size, digest)
    except BaseException:
        writer.abort()
        raise
    file = writer.finish()
    if file is not None and rows_digest(path.read_bytes()) != digest:
        path.unlink()
        raise CorruptData(
            f"{store.uri}: {len(shards)} shards merged into one do not hold the same rows; nothing is lost."
        )
    return file


def _append(writer: ShardFileWriter, rows: Iterator[dict[str, Any]], bundle_size: int, digest: RowsDigest) -> None:
    """Append rows; as when a shard is made, a bundle ends after `bundle_size` rows of a source or with the source."""
    for _, of_source in groupby(rows, key=itemgetter("source_key")):
        number, crop = 0, None
        for number, row in enumerate(of_source, 1):
            digest.add(row)
            is_repeated = crop is not None and row.get(CROP) == crop
            writer.append(row, num_cell_bytes({**row, CROP: None} if is_repeated else row))
            crop = row.get(CROP)
            if number % bundle_size == 0:
                writer.end_bundle()
        if number % bundle_size:
            writer.end_bundle()


def _checked(store: Store, shard: Mapping[str, Any]) -> bytes:
    data = store.get(shard["file"])
    if sha256_hex(data) != shard["sha256"]:
        raise CorruptData(f"{shard['file']}: its bytes do not match the sha256 in the manifest; `unlabeled verify`.")
    return data


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    file = ParquetReader(data, check_pages=True, extensions=False)
    for index in range(file.metadata.num_row_groups):
        for batch in file.read_row_group(index).to_batches(max_chunksize=64):
            yield from batch.to_pylist()


def _feed(digest: Any, cell: Any) -> None:
    """Add a cell to a digest such that different cells never look alike."""
    if isinstance(cell, bytes):
        digest.update(b"b%d:" % len(cell))
        digest.update(cell)
    elif isinstance(cell, Mapping):
        digest.update(b"{%d:" % len(cell))
        for name, value in cell.items():
            digest.update(name.encode())
            _feed(digest, value)
    elif isinstance(cell, list):
        digest.update(b"[%d:" % len(cell))
        for value in cell:
            _feed(digest, value)
    else:
        digest.update(repr(cell).encode("utf-8", "surrogatepass") + b";")
