"""Checks the pages of a Parquet column against their CRC-32, over bytes that are in memory.

Arrow can do it while it reads, at the 4 GB/s of a table-driven CRC, which costs more than the reading; with carry-less
multiplication (isal) it is ten times as fast. Of the file format only page headers are understood here: a struct in
Thrift's compact protocol in front of each page, of which two sizes and the checksum count and the rest is skipped.
"""

from __future__ import annotations

from .errors import CorruptData

try:
    from isal.isal_zlib import crc32
except ImportError:  # there are no wheels for some processors
    from zlib import crc32

#: Arrow's are some 50 bytes, and the statistics in them hold at most two values of 4 kB.
_MAX_HEADER_BYTES = 1 << 16
#: Page header, data page header, statistics, and one to spare.
_MAX_DEPTH = 4
_MAX_VARINT_BYTES = 10
#: Fields of the page header.
_COMPRESSED_SIZE, _CRC = 3, 4
#: Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
#: A truth value is in its type.
_NUM_BYTES = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


def check_pages(chunk: memoryview, name: str) -> int:
    """Return how many pages a column chunk has, all of which match their checksums.

    Args:
        chunk: its bytes, from the first page's header to the last page's end.
        name: of file, row group and column, for messages.

    Raises:
        CorruptData: a page does not match its checksum or has none, or its header makes no sense; names the page.
    """
    at, page = 0, 0
    while at < len(chunk):
        try:
            size, crc, header_num_bytes = _read_header(chunk[at : at + _MAX_HEADER_BYTES])
        except (IndexError, ValueError) as error:
            raise CorruptData(f"{name}: page {page}: its header is damaged: {error}") from error
        start = at + header_num_bytes
        at = start + size
        if at > len(chunk):
            raise CorruptData(f"{name}: page {page}: ends {at - len(chunk)} bytes behind its column; it is damaged.")
        if crc is None:
            raise CorruptData(f"{name}: page {page}: has no checksum; its header is damaged.")
        if crc32(chunk[start:at]) != crc:
            raise CorruptData(f"{name}: page {page}: does not match its checksum (CRC-32); it is damaged.")
        page += 1
    return page


def _read_header(data: memoryview) -> tuple[int, int | None, int]:
    """Return the page's size in bytes, its checksum, and the size of its header, with which `data` starts.

    Raises:
        IndexError: the header does not end in `data`.
        ValueError: it is none.
    """
    size, crc = None, None
    number, at = 0, 0
    while True:
        number, kind, at = _field(data, at, number)
        if not kind:
            break
        if kind == _I32 and number in (_COMPRESSED_SIZE, _CRC):
            value, at = _i32(data, at)
            if number == _CRC:
                crc = value & 0xFFFFFFFF
            else:
                size = value
        else:
            at = _skip(data, at, kind, 1)
    if size is None or size < 0:
        raise ValueError(f"the page's size is {size}")
    return size, crc, at


def _field(data: memoryview, at: int, before: int) -> tuple[int, int, int]:
    """Return number and type (0: the struct ends) of the field at `at`, and where its value starts."""
    head = data[at]
    at += 1
    if head >> 4 or not head & 15:
        return before + (head >> 4), head & 15, at
    number, at = _i32(data, at)
    return number, head & 15, at


def _skip(data: memoryview, at: int, kind: int, depth: int) -> int:
    """Return where the value of a field of type `kind` ends; recursion ends at _MAX_DEPTH."""
    if kind in _NUM_BYTES:
        return at + _NUM_BYTES[kind]
    if kind in (_I16, _I32, _I64):
        return _varint(data, at)[1]
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if depth == _MAX_DEPTH:
        raise ValueError("it is nested too deep")
    if kind == _STRUCT:
        while True:
            _, inner, at = _field(data, at, 0)
            if not inner:
                return at
            at = _skip(data, at, inner, depth + 1)
    if kind in (_LIST, _SET):
        return _skip_list(data, at, depth)
    raise ValueError(f"a field has the type {kind}")


def _skip_list(data: memoryview, at: int, depth: int) -> int:
    num, kind = data[at] >> 4, data[at] & 15
    at += 1
    if num == 15:
        num, at = _varint(data, at)
    for _ in range(num):
        if at >= len(data):
            raise IndexError("a list does not end")
        # In a list, a truth value takes a byte.
        at = _skip(data, at, _BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
    return at


def _i32(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    if value >> 32:
        raise ValueError("a number has more than 32 bits")
    return value >> 1 ^ -(value & 1), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number without sign of at most ten bytes, and where it ends."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number does not end")
