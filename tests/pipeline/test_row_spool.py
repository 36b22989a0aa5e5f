from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from unlabeled.pipeline.errors import UnlabeledError
from unlabeled.pipeline.row_spool import RowSpool

SCHEMA = pa.schema([("key", pa.string()), ("numbers", pa.list_(pa.int32()))])


def batch(*keys: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"key": key, "numbers": [*range(len(key))]} for key in keys], SCHEMA)


def test_batches_come_back_in_order_with_the_sizes_of_their_rows(tmp_path: Path) -> None:
    spool = RowSpool(tmp_path, SCHEMA)
    spool.add(batch("a", "bb"), [1, 2])
    spool.add(batch("ccc"), [3])
    assert spool.num_rows == 3
    for _ in range(2):
        assert [*spool.batches()] == [(batch("a", "bb"), [1, 2]), (batch("ccc"), [3])]


def test_its_file_has_no_name(tmp_path: Path) -> None:
    RowSpool(tmp_path, SCHEMA).add(batch("a"), [1])
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UnlabeledError, match="cannot grow on this machine's disk"):
        RowSpool(tmp_path, SCHEMA).add(batch("a"), [1])
