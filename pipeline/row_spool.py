"""Rows of one source on local disk, as Arrow, until the source is through: a large one does not fill the memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from .shard_file import named_disk_faults


class RowSpool:
    """Batches of rows in the order in which they were added. The file has no name and goes with this object.

    Args:
        folder: on local disk.
        schema: of all batches.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        with named_disk_faults(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed when this object goes
        self._batches: list[tuple[int, list[int]]] = []
        self.num_rows = 0

    def add(self, batch: pa.RecordBatch, num_bytes: Sequence[int]) -> None:
        """Write a batch; `num_bytes`: about how many bytes each row takes in a shard.

        Raises:
            UnlabeledError: the disk is full or broken.
        """
        data = batch.serialize()
        with named_disk_faults(self._folder):
            self._file.write(data)
        self._batches.append((data.size, list(num_bytes)))
        self.num_rows += batch.num_rows

    def batches(self) -> Iterator[tuple[pa.RecordBatch, list[int]]]:
        """Yield each batch with its rows' sizes, one in memory at a time.

        Raises:
            UnlabeledError: the disk is broken.
        """
        with named_disk_faults(self._folder):
            self._file.seek(0)
        for size, num_bytes in self._batches:
            with named_disk_faults(self._folder):
                data = self._file.read(size)
            yield pa.ipc.read_record_batch(pa.py_buffer(data), self._schema), num_bytes
