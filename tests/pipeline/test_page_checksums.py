"""Page checksums: what Arrow would find, and nothing but CorruptData for any bytes."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.page_checksums import check_pages

NUMBERS = np.arange(40)
#: Two pages, whose bodies are the numbers alone: they are never null.
TABLE = pa.table([pa.array(NUMBERS)], schema=pa.schema([pa.field("n", pa.int64(), nullable=False)]))
WORDS = pa.table({"word": ["one", "two", None, "three"] * 50})


def written(table: pa.Table, **options: object) -> tuple[bytes, slice]:
    """Return a Parquet file and where its only column chunk is."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"write_page_checksum": True, "compression": "none"} | options)
    chunk = pq.ParquetFile(sink).metadata.row_group(0).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return sink.getvalue(), slice(start, start + chunk.total_compressed_size)


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def fault(chunk: bytes) -> str:
    """Return what is wrong with a column chunk; anything but CorruptData fails the test."""
    try:
        check_pages(memoryview(chunk), "shard.parquet: n")
    except CorruptData as error:
        return str(error)
    return ""


def arrows_fault(data: bytes) -> str:
    try:
        pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        return str(error)
    return ""


FILE, PLACE = written(TABLE, use_dictionary=False, data_page_size=160, write_batch_size=20)
CHUNK = FILE[PLACE]


@pytest.mark.parametrize(
    ("table", "options", "num_pages"),
    [
        (TABLE, {"use_dictionary": False, "data_page_size": 160, "write_batch_size": 20}, 2),
        (WORDS, {"compression": "zstd"}, 2),
        (WORDS, {"compression": "zstd", "data_page_version": "2.0", "use_dictionary": False}, 1),
        (WORDS, {"write_statistics": False}, 2),
    ],
    ids=["pages", "dictionary", "version 2", "no statistics"],
)
def test_what_arrow_writes_is_right(table: pa.Table, options: dict[str, object], num_pages: int) -> None:
    data, place = written(table, **options)
    assert check_pages(memoryview(data)[place], "") == num_pages


def test_every_flipped_bit_of_a_page_is_found_as_arrow_finds_it() -> None:
    body = NUMBERS[20:].tobytes()
    first = 8 * CHUNK.index(body)
    for bit in range(first, first + 8 * len(body)):
        assert fault(flipped(CHUNK, bit)).startswith("shard.parquet: n: page 1: does not match its checksum")
        assert "CRC" in arrows_fault(flipped(FILE, 8 * PLACE.start + bit))


@pytest.mark.parametrize(
    "options", [{"use_dictionary": False}, {}, {"compression": "zstd"}, {"data_page_version": "2.0"}]
)
def test_arrow_finds_no_wrong_checksum_that_is_not_found_here(options: dict[str, object]) -> None:
    data, place = written(WORDS, **options)
    for bit in range(8 * place.start, 8 * place.stop):
        damaged = flipped(data, bit)
        assert fault(damaged[place]) or "CRC" not in arrows_fault(damaged)


def test_a_page_without_a_checksum_is_damaged() -> None:
    data, place = written(TABLE, write_page_checksum=False)
    assert "page 0: has no checksum" in fault(data[place])


def test_a_chunk_that_ends_early_is_damaged() -> None:
    first_page = CHUNK.index(NUMBERS[:20].tobytes()) + 160
    assert [length for length in range(1, len(CHUNK)) if not fault(CHUNK[:length])] == [first_page]


@given(st.binary(max_size=300))
def test_any_bytes_are_right_or_damaged(data: bytes) -> None:
    fault(data)


@given(st.data())
def test_mutated_bytes_are_right_or_damaged(data: st.DataObject) -> None:
    out = bytearray(CHUNK)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(out)))
        out[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    fault(bytes(out))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\x5c" * 100 + b"\x00", "nested too deep"),
        (b"\x59\xf8" + b"\xff" * 9 + b"\x01", "list does not end"),
        (b"\x59\xf3" + b"\xff" * 12, "number does not end"),
        (b"\x5b\x00", "type 11"),
        (b"\x15\x00\x00", "size is None"),
        (b"\x35\x01\x00", "size is -1"),
        (b"\x35" + b"\xff" * 5 + b"\x01\x00", "more than 32 bits"),
        (b"\x58\xff\xff\xff\xff\x7f", "out of"),
    ],
    ids=["structs", "list", "varint", "map", "no size", "negative", "33 bits", "binary"],
)
def test_a_header_is_bounded(header: bytes, expected: str) -> None:
    assert expected in fault(header)


def test_unknown_fields_are_skipped() -> None:
    body = b"body"
    crc = np.uint32(zlib.crc32(body)).astype(np.int32).item()
    zigzag = crc << 1 ^ crc >> 31 if crc >= 0 else (-crc << 1) - 1
    varint = bytes([zigzag >> 7 * place & 127 | 128 for place in range(4)]) + bytes([zigzag >> 28])
    every = (
        b"\x81\x12\x13\x07\x15\x02\x16\x02\x17" + bytes(8) + b"\x18\x01x\x19\x21\x01\x02\x1a\x15\x02\x1c\x15\x02\x00"
    )
    header = b"\x35\x08\x15" + varint + every + b"\x05\xc8\x01\x02\x00"
    assert fault(header + body) == ""
