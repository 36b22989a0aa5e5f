"""Reading, sorting and grouping in one thread."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.serial_arrow import ParquetReader, read_csv, read_footer, read_parquet, sorted_by, sums, taken

_TABLE = pa.table({"key": ["b", "a", "b", "c"], "number": [1, 2, 3, 4]})


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_a_file_is_read_from_bytes_and_from_an_open_file() -> None:
    data = _parquet(_TABLE, row_group_size=3)
    assert read_parquet(data).equals(_TABLE)
    reader = ParquetReader(io.BytesIO(data))
    assert reader.read_row_group(1, ["key"]).to_pydict() == {"key": ["c"]}
    assert [batch.num_rows for batch in reader.iter_batches(2, row_groups=[0], columns=["number"])] == [2, 1]
    assert read_footer(data).num_rows == 4


def test_a_damaged_page_is_found_where_pages_are_checked() -> None:
    data = bytearray(_parquet(_TABLE, write_page_checksum=True, compression="none", use_dictionary=False))
    data[data.index(b"\x01\x00\x00\x00a")] ^= 2
    with pytest.raises(OSError, match="checksum"):
        ParquetReader(bytes(data), check_pages=True).read()


def test_csv_keeps_empty_text_and_line_breaks() -> None:
    table = read_csv(b'key,size\n"a\nb",1\n"",2\n', {"key": pa.string(), "size": pa.int64()})
    assert table.to_pydict() == {"key": ["a\nb", ""], "size": [1, 2]}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3))))
def test_sorting_is_by_the_columns_in_turn_and_stable(rows: list[tuple[str, int]]) -> None:
    table = pa.table(
        {
            "key": pa.array([key for key, _ in rows], pa.string()),
            "number": [n for _, n in rows],
            "at": range(len(rows)),
        }
    )
    expected = sorted(range(len(rows)), key=lambda at: (rows[at][0], rows[at][1], at))
    assert sorted_by(table, "key", "number")["at"].to_pylist() == expected


def test_sums_are_by_value() -> None:
    assert sums(_TABLE, "key", "number") == {"a": 2, "b": 4, "c": 4}


_PROGRAM = """
import sys
from unlabeled.pipeline.serial_arrow import *
data = open(sys.argv[1], "rb").read()
before = len(__import__("os").listdir("/proc/self/task"))
table = read_parquet(data)
with open(sys.argv[1], "rb") as file:
    ParquetReader(file).read_row_group(0)
sums(sorted_by(table, "number"), "key", "number")
print(len(__import__("os").listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_no_thread_of_arrow_is_started(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(_parquet(pa.concat_tables([_TABLE] * 10_000), row_group_size=1000))
    done = subprocess.run([sys.executable, "-c", _PROGRAM, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_columns_that_are_one_in_memory_stay_one() -> None:
    key = pa.array(["a", "b", "c"])
    found = taken(pa.table({"key": key, "unit": key, "other": pa.array(["a", "b", "d"])}), pa.array([2, 0]))
    assert found.to_pydict() == {"key": ["c", "a"], "unit": ["c", "a"], "other": ["d", "a"]}
    addresses = [column.chunk(0).buffers()[2].address for column in found.columns]
    assert addresses[0] == addresses[1] != addresses[2]
