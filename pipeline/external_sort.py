"""Sorting tables that are larger than what one wants to hold: sorted runs on local disk, then range by range.

Each run is sorted in memory and written. Splitters from a sample of all runs (DeWitt, Naughton, Schneider: Parallel
sorting on a shared-nothing architecture using probabilistic splitting, PDIS 1991) then cut every run into ranges; what
all runs hold of one range is sorted and written, and the next range follows. Files have no name once they are whole:
the kernel holds what is mapped of them while it has memory to spare, and removes them with the last reference.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from .errors import UnlabeledError
from .serial_arrow import sorted_by

#: Rows that are in memory at once. Fewer are sorted without any file.
RUN_NUM_ROWS = 1 << 19
_BATCH_NUM_ROWS = 1 << 16
_SAMPLES_PER_RUN = 256


class ExternalSort:
    """Sorts what is added, in ascending order of columns, the first being the major one; equal rows keep their order.

    Args:
        schema: of all tables that are added. The first of `columns` has no nulls.
        columns: to sort by.
        run_num_rows: rows that are held in memory at once, about; None: RUN_NUM_ROWS.
    """

    def __init__(self, schema: pa.Schema, columns: Sequence[str], run_num_rows: int | None = None) -> None:
        self._schema, self._columns, self._run_num_rows = schema, tuple(columns), run_num_rows or RUN_NUM_ROWS
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._runs: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Take in rows.

        Raises:
            UnlabeledError: the disk is full or broken.
        """
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= self._run_num_rows:
            self._runs.append(on_disk(self._schema, [self._sorted_waiting()]))

    def sorted(self) -> pa.Table:
        """Return all rows in order; where there are many, mapped from a file. Nothing can be added after.

        Raises:
            UnlabeledError: the disk is full or broken.
        """
        last = self._sorted_waiting()
        if not self._runs:
            return last
        runs, self._runs = [*self._runs, last], []
        return on_disk(self._schema, self._ranges(runs))

    def _sorted_waiting(self) -> pa.Table:
        table = pa.concat_tables([self._schema.empty_table(), *self._waiting])
        self._waiting, self._num_waiting = [], 0
        return sorted_by(table, *self._columns)

    def _ranges(self, runs: Sequence[pa.Table]) -> Iterable[pa.Table]:
        keys = [run[self._columns[0]] for run in runs]
        splitters = self._splitters(keys)
        bounds = [[0, *_cuts(column, splitters), len(column)] for column in keys]
        for number in range(len(bounds[0]) - 1):
            pieces = [
                run.slice(of_run[number], of_run[number + 1] - of_run[number])
                for run, of_run in zip(runs, bounds, strict=True)
            ]
            yield sorted_by(pa.concat_tables(pieces), *self._columns)

    def _splitters(self, keys: Sequence[pa.ChunkedArray]) -> list[Any]:
        """Return keys, ascending, between which about one run's rows lie."""
        sample = sorted(
            column[at * len(column) // _SAMPLES_PER_RUN].as_py()
            for column in keys
            if len(column)
            for at in range(_SAMPLES_PER_RUN)
        )
        num_ranges = -(-sum(map(len, keys)) // self._run_num_rows)
        return [sample[number * len(sample) // num_ranges] for number in range(1, num_ranges)]


def on_disk(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """Return tables as one that is mapped from a file of local disk, in batches.

    Raises:
        UnlabeledError: the disk is full or broken.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="unlabeled-") as folder:
            path = str(Path(folder, "rows.arrow"))
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for table in tables:
                    writer.write_table(table, max_chunksize=_BATCH_NUM_ROWS)
            return pa.ipc.open_file(pa.memory_map(path)).read_all()
    except OSError as error:
        raise UnlabeledError(
            f"{tempfile.gettempdir()}: very many sources are sorted on this machine's disk, about 1 KB each, and it "
            f"fails: {error}. Make room or let TMPDIR name another disk."
        ) from error


def _cuts(column: pa.ChunkedArray, splitters: Sequence[Any]) -> list[int]:
    """Return where each splitter would stand in a sorted column, before its equals."""
    view = _Values(column)
    return [bisect_left(view, splitter) for splitter in splitters]


class _Values(Sequence[Any]):
    """A column's values as Python's, made one by one."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, at: Any) -> Any:
        return self._column[at].as_py()
