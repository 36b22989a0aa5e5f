"""The threads behind a loader: row groups that are open, rows that are being decoded."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .decode_batch import Piece, decode_column
from .render_batch import render_column
from .sequence import Bundles
from .source import ID, Source

#: Requests to a remote store that wait side by side.
NUM_REMOTE_READS = 16

Decoded = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Planned:
    """Rows that are wanted, as bundles of one, and the units that hold them, on their way."""

    rows: Bundles
    units: Mapping[int, Future[dict[str, pa.Array]]]


class Reading:
    """Reads and decodes in threads, which end with the `with` block.

    Args:
        source: what is read.
        num_threads: threads that decode.
        num_batches: batches that are made side by side.
        raw: give media as the stored bytes.
    """

    def __init__(self, source: Source, num_threads: int, num_batches: int, *, raw: bool) -> None:
        self._source = source
        self._raw = raw
        num_reads = num_threads if source.store.is_local else NUM_REMOTE_READS
        self._reads = ThreadPoolExecutor(num_reads, "read")
        self._batches = ThreadPoolExecutor(num_batches, "batch")
        self._decoders = ThreadPoolExecutor(num_threads, "decode")
        self._open: dict[int, tuple[int, Future[dict[str, pa.Array]]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._reads, self._batches, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self._reads, self._batches, self._decoders):
            pool.shutdown(wait=True)

    def plan(self, step: int, rows: Bundles, num_steps_held: int) -> Planned:
        """Ask for the units of a step, and close those that no step has used for `num_steps_held` steps."""
        units = {}
        for unit in dict.fromkeys(rows.units.tolist()):
            known = self._open.get(unit)
            future = known[1] if known else self._reads.submit(self._source.read, unit)
            self._open[unit] = (step, future)
            units[unit] = future
        self._open = {unit: entry for unit, entry in self._open.items() if entry[0] >= step - num_steps_held}
        return Planned(rows, units)

    def make(self, planned: Planned) -> Future[Decoded]:
        """Return ids and columns of planned rows, to come."""
        return self._batches.submit(self._make, planned)

    def _make(self, planned: Planned) -> Decoded:
        read = {unit: future.result() for unit, future in planned.units.items()}
        return decode_rows(self._source, planned.rows, read, self._decoders, raw=self._raw)


def decode_rows(
    source: Source,
    rows: Bundles,
    read: Mapping[int, Mapping[str, pa.Array]],
    pool: ThreadPoolExecutor,
    *,
    raw: bool = False,
) -> Decoded:
    """Return ids and columns of some rows, in their order; `read` holds the columns of each of their units."""
    order = np.argsort(rows.units, kind="stable")
    firsts = np.flatnonzero(np.diff(rows.units[order], prepend=-1))
    groups = [
        (partial(source.name, unit), read[unit], rows.places[places], places)
        for places in np.split(order, firsts[1:])
        for unit in [int(rows.units[places[0]])]
    ]

    def pieces(column: str) -> list[Piece]:
        return [Piece(name, arrays[column], of_unit, places) for name, arrays, of_unit, places in groups]

    columns: dict[str, Any] = {}
    for column, feature in source.features.items():
        rendering = source.rendering
        if rendering is not None and column == rendering.column:
            columns[column] = render_column(source.manifest.typed_features(), rendering, pieces, pool)
            continue
        columns |= decode_column(column, feature, pieces(column), pool, raw=raw)
    ids = decode_column(ID, source.id_feature, pieces(ID), pool)[ID]
    return tuple(ids), columns
