"""Parts of sources: what is long is cut, so that several workers share it and a failure costs little.

A part is named by (source_key, start). Bounds are bytes for text: a document belongs to the part in which it starts,
so the documents of all parts are those of the whole. The bounds follow from the size alone: the same source is cut
alike by every run, and one that has grown keeps the places where its parts start.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .config import PartSettings
from .decode.decoder_file import DecoderFile
from .task import Modality

#: `end` of a part that is a whole source.
WHOLE = -1


def cut_sources(
    sources: pa.Table, modality: Modality, settings: PartSettings, decoder_files: Sequence[DecoderFile] = ()
) -> pa.Table:
    """Return `sources` (inventory columns) with those worth cutting as several rows, each with its start and end.

    Left whole are media but text, cells of Parquet, and what a user's own decoder reads.
    """
    num_bytes = sources["num_bytes"].to_numpy()
    if modality != Modality.TEXT or not (num_bytes > settings.above_num_bytes).any():
        return sources
    worth = (num_bytes > settings.above_num_bytes) & (sources["row_group"].to_numpy() < 0)
    worth &= sources["end"].to_numpy() == WHOLE
    for row in np.flatnonzero(worth).tolist():
        worth[row] = not any(file.is_for(sources["source_key"][row].as_py()) for file in decoder_files)
    num_parts = np.where(worth, -(-num_bytes // settings.num_bytes), 1)
    rows = np.repeat(np.arange(len(num_bytes)), num_parts)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(num_parts) - num_parts, num_parts)
    is_cut = worth[rows]
    start = np.where(is_cut, number * settings.num_bytes, sources["start"].to_numpy()[rows])
    end = np.where(is_cut, np.minimum(start + settings.num_bytes, num_bytes[rows]), sources["end"].to_numpy()[rows])
    return _with_bounds(sources.take(rows), start, end)


def whole_sources(sources: pa.Table) -> pa.Table:
    """Return one row a source, with the bounds of a whole one; `sources` may hold any of its parts, neighbours."""
    keys = sources["source_key"].to_numpy(zero_copy_only=False)
    is_first = np.ones(len(keys), bool)
    is_first[1:] = keys[1:] != keys[:-1]
    sources = sources.take(np.flatnonzero(is_first))
    return _with_bounds(sources, np.zeros(sources.num_rows, np.int64), np.full(sources.num_rows, WHOLE, np.int64))


def part_names(table: pa.Table) -> pa.ChunkedArray:
    """Return a string that names each row's part; equal to source_key where it starts at 0."""
    if not table.num_rows or not pc.max(table["start"]).as_py():
        return table["source_key"]
    # No key holds a zero byte: the inventory rejects those.
    named = pc.binary_join_element_wise(table["source_key"], pc.cast(table["start"], pa.string()), "\0")
    return pc.if_else(pc.equal(table["start"], 0), table["source_key"], named)


def shares_num_bytes(sources: pa.Table) -> NDArray[np.int64]:
    """Return how many bytes of its source each row stands for, int64: parts of one source have equal shares."""
    num_bytes: NDArray[np.int64] = sources["num_bytes"].to_numpy()
    is_part = sources["end"].to_numpy() != WHOLE
    if not is_part.any():
        return num_bytes
    keys = sources["source_key"].filter(pa.array(is_part)).to_numpy(zero_copy_only=False)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shares: NDArray[np.int64] = num_bytes.copy()
    shares[is_part] = -(-num_bytes[is_part] // counts[inverse])
    return shares


def _with_bounds(sources: pa.Table, start: NDArray[np.int64], end: NDArray[np.int64]) -> pa.Table:
    for name, column in (("start", start), ("end", end)):
        sources = sources.set_column(sources.schema.get_field_index(name), name, pa.array(column, pa.int64()))
    return sources
