from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.external_sort import ExternalSort, on_disk

SCHEMA = pa.schema([("key", pa.string()), ("place", pa.int64()), ("number", pa.int64())])
keys = st.text("aäb\U0001f600", max_size=3)


def numbered(rows: list[tuple[str, int]]) -> pa.Table:
    """Return rows with the number of each: equal ones can be told apart."""
    columns = [[key for key, _ in rows], [place for _, place in rows], range(len(rows))]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(keys, st.integers(0, 2)), max_size=40), size=st.integers(1, 9), step=st.integers(1, 7))
def test_runs_on_disk_give_what_sorting_in_memory_gives(rows: list[tuple[str, int]], size: int, step: int) -> None:
    table = numbered(rows)
    sort = ExternalSort(SCHEMA, ("key", "place"), run_num_rows=size)
    for first in range(0, len(rows), step):
        sort.add(table.slice(first, step))
    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("place", "ascending"), ("number", "ascending")])
    assert sort.sorted().to_pylist() == table.take(order).to_pylist()


def test_few_rows_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    sort = ExternalSort(SCHEMA, ("key",), run_num_rows=3)
    sort.add(numbered([("b", 0), ("a", 0)]))
    assert sort.sorted()["key"].to_pylist() == ["a", "b"]


def test_files_leave_no_name_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = on_disk(SCHEMA, [numbered([("a", 0)]), numbered([("b", 1), ("c", 2)])])
    assert found["key"].to_pylist() == ["a", "b", "c"]
    assert not list(tmp_path.iterdir())


def test_a_binary_column_sorts_by_bytes() -> None:
    schema = pa.schema([("digest", pa.binary(2))])
    sort = ExternalSort(schema, ("digest",), run_num_rows=2)
    for value in (b"\xff\x00", b"\x00\xff", b"\x7f\x01", b"\x7f\x00", b"\x80\x00"):
        sort.add(pa.table([pa.array([value], pa.binary(2))], schema=schema))
    assert [value.hex() for value in sort.sorted()["digest"].to_pylist()] == ["00ff", "7f00", "7f01", "8000", "ff00"]
