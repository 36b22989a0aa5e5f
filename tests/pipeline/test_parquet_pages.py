from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.parquet_pages import Page, checked_pages, plain_values
from unlabeled.pipeline.serial_arrow import ParquetReader

NUM_ROWS = 400


@cache
def file_of(version: str = "1.0", compression: str = "none", has_checksums: bool = True) -> bytes:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "image": [{"bytes": rng.bytes(rng.integers(0, 400)), "path": None} for _ in range(NUM_ROWS)],
            "label": pa.array(rng.integers(0, 4, NUM_ROWS), pa.int64()),
            "name": pa.array([f"example {number % 50}" for number in range(NUM_ROWS)]),
            "mask": [rng.integers(0, 2, rng.integers(0, 5)).astype(bool).tolist() for _ in range(NUM_ROWS)],
        }
    )
    sink = io.BytesIO()
    pq.write_table(
        *(table, sink),
        data_page_version=version,
        compression=compression,
        data_page_size=2000,
        write_batch_size=16,
        row_group_size=150,
        write_page_checksum=has_checksums,
        column_encoding={"image.bytes": "PLAIN"},
        use_dictionary=["name"],
    )
    return sink.getvalue()


def chunks_of(data: bytes) -> Iterator[bytes]:
    footer = pq.read_metadata(io.BytesIO(data))
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            start = min(place for place in (column.dictionary_page_offset, column.data_page_offset) if place)
            yield data[start : start + column.total_compressed_size]


CHUNK = max(chunks_of(file_of()), key=len)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_pages_that_arrow_writes_are_sound(version: str, compression: str) -> None:
    numbers = [len(checked_pages(chunk)) for chunk in chunks_of(file_of(version, compression))]
    assert len(numbers) == 15
    assert max(numbers) > 5


def test_a_column_without_checksums_is_refused() -> None:
    with pytest.raises(CorruptData, match="checksum"):
        checked_pages(next(chunks_of(file_of(has_checksums=False))))


@given(st.integers(0, 8 * len(CHUNK) - 1))
def test_a_flipped_bit_that_arrow_finds_is_found(bit: int) -> None:
    place = file_of().index(CHUNK)
    damaged = bytearray(file_of())
    damaged[place + bit // 8] ^= 1 << bit % 8
    try:
        ParquetReader(bytes(damaged), check_pages=True).read()
    except (OSError, pa.ArrowInvalid) as error:
        if "CRC checksum" in str(error):
            with pytest.raises(CorruptData):
                checked_pages(damaged[place : place + len(CHUNK)])


@given(st.binary(max_size=200))
def test_bytes_at_random_are_refused_as_damaged_or_are_nothing(data: bytes) -> None:
    with contextlib.suppress(CorruptData):
        assert checked_pages(data) == []
        assert not data


@given(st.integers(0, len(CHUNK) - 1), st.binary(min_size=1, max_size=30))
def test_bytes_overwritten_raise_nothing_else(place: int, other: bytes) -> None:
    damaged = bytearray(CHUNK)
    damaged[place : place + len(other)] = other
    with contextlib.suppress(CorruptData):
        checked_pages(damaged)


@pytest.mark.parametrize("cut", [1, 10, len(CHUNK) // 2])
def test_a_column_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(CorruptData):
        checked_pages(CHUNK[:-cut])


@pytest.mark.parametrize("sizes", [[3, 0, 5000, 7], [40] * 1000, [1]])
@pytest.mark.parametrize("is_struct", [False, True])
def test_plain_values_are_what_arrow_reads(sizes: list[int], is_struct: bool) -> None:
    values = [np.random.default_rng(size).bytes(size) for size in sizes]
    column = [{"bytes": value} for value in values] if is_struct else values
    sink = io.BytesIO()
    pq.write_table(
        *(pa.table({"x": column}), sink), compression="none", use_dictionary=False, data_page_size=999,
        write_page_checksum=True, write_batch_size=3,
    )  # fmt: skip
    found = plain_values(checked_pages(next(chunks_of(sink.getvalue()))), 2 if is_struct else 1)
    assert found == values


@pytest.mark.parametrize("column", [[b"a", None], [b"a"] * 9 + [None]])
def test_nulls_are_left_to_arrow(column: list[bytes | None]) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": column}), sink, compression="none", use_dictionary=False, write_page_checksum=True)
    assert plain_values(checked_pages(next(chunks_of(sink.getvalue()))), 1) is None


def test_dictionaries_are_left_to_arrow() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [b"a", b"a"]}), sink, compression="none", write_page_checksum=True)
    assert plain_values(checked_pages(next(chunks_of(sink.getvalue()))), 1) is None


@given(st.binary(max_size=60), st.integers(0, 9), st.integers(0, 2))
def test_a_body_at_random_is_values_or_damaged(body: bytes, num_values: int, level: int) -> None:
    with contextlib.suppress(CorruptData):
        found = plain_values([Page(memoryview(body), True, num_values)], level)
        assert found is None or len(found) == num_values
