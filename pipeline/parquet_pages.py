"""Pages of Parquet column chunks whose bytes are in memory: compared with their checksums, and read without a copy.

Arrow does both, too, but computes CRC-32 at the speed of a core's table lookups, which costs more than reading (35 KB
in 9 us). With carry-less multiplication (Gopal et al.: Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
Instruction, Intel 2009), as in ISA-L, it is a tenth of that. And Arrow copies values that stand in the file as they
are. Headers of pages are Thrift structs in the compact protocol, with the fields of PageHeader in parquet.thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from isal import isal_zlib

from .errors import CorruptData

#: PageHeader: sizes, checksum, the header of a data page; of that, number of values and their encoding.
_TYPE, _COMPRESSED_SIZE, _CRC, _DATA_PAGE = 1, 3, 4, 5
_NUM_VALUES, _ENCODING = 1, 2
_IS_DATA_PAGE, _PLAIN = 0, 0
_BOOLEANS, _INTEGERS = (1, 2), (4, 5, 6)
_INT8, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
#: Of structs and lists in a header: data page header, its statistics. What lies deeper is none of Parquet's.
_MAX_DEPTH = 4
_MAX_VARINT_BYTES = 10
_UINT32 = struct.Struct("<I")

Fields = dict[int, "int | Fields"]


@dataclass(frozen=True)
class Page:
    """A page as stored. is_plain: a data page whose values stand one after the other; num_values: of such a page."""

    body: memoryview
    is_plain: bool
    num_values: int


def checked_pages(chunk: bytes | memoryview) -> list[Page]:
    """Return the pages of a column chunk, each as its checksum says.

    Args:
        chunk: the whole chunk, from its first page's header to its last page's end.

    Raises:
        CorruptData: a page is not what its checksum says, has none, or its header is none of Parquet's.
    """
    view = memoryview(chunk)
    pages: list[Page] = []
    start = 0
    while start < len(view):
        reader = _Compact(view, start)
        header = reader.struct()
        size, crc = header.get(_COMPRESSED_SIZE), header.get(_CRC)
        if not isinstance(size, int) or not isinstance(crc, int) or size < 0:
            raise CorruptData(f"page {len(pages)} does not name its size and its checksum.")
        end = reader.position + size
        if end > len(view):
            raise CorruptData(f"page {len(pages)} ends after its column.")
        body = view[reader.position : end]
        if isal_zlib.crc32(body) != crc & 0xFFFFFFFF:
            raise CorruptData(f"page {len(pages)}, at byte {start} of its column, does not match its checksum.")
        pages.append(_page(header, body))
        start = end
    return pages


def _page(header: Fields, body: memoryview) -> Page:
    of_data = header.get(_DATA_PAGE)
    if header.get(_TYPE) != _IS_DATA_PAGE or not isinstance(of_data, dict):
        return Page(body, False, 0)
    num_values, encoding = of_data.get(_NUM_VALUES), of_data.get(_ENCODING)
    if not isinstance(num_values, int) or num_values < 0:
        raise CorruptData("a data page does not name its number of values.")
    return Page(body, encoding == _PLAIN, num_values)


def plain_values(pages: Sequence[Page], max_definition_level: int) -> list[memoryview] | None:
    """Return the values of an uncompressed column of bytes as views of its pages, one a row.

    Args:
        pages: of a column that is in no list.
        max_definition_level: below it, a value or what it is a field of is null.

    Returns:
        The values; None where a page is encoded otherwise or a value is null, which Arrow can read.

    Raises:
        CorruptData: the values do not fill their page.
    """
    values: list[memoryview] = []
    for page in pages:
        if not page.is_plain:
            return None
        body = page.body
        if max_definition_level:
            levels, body = _cut_levels(body)
            if not _all_are(levels, max_definition_level, page.num_values):
                return None
        values += _values(body, page.num_values)
    return values


def _cut_levels(body: memoryview) -> tuple[memoryview, memoryview]:
    """Return (definition levels, values) of a data page's body."""
    if len(body) < _UINT32.size:
        raise CorruptData("a data page ends before its levels.")
    end = _UINT32.size + _UINT32.unpack_from(body)[0]
    if end > len(body):
        raise CorruptData("a data page ends within its levels.")
    return body[_UINT32.size : end], body[end:]


def _all_are(levels: memoryview, wanted: int, num_values: int) -> bool:
    """Return whether all levels, in runs of equal ones and of packed ones, are `wanted`."""
    width = wanted.bit_length()
    if width > 8:
        return False
    reader = _Compact(levels, 0)
    left = num_values
    while left > 0:
        run = reader.varint()
        if run & 1:
            packed = int.from_bytes(reader.take((run >> 1) * width), "little")
            num = min(left, (run >> 1) * 8)
            if any((packed >> width * place) & ((1 << width) - 1) != wanted for place in range(num)):
                return False
        else:
            num = run >> 1
            if reader.take(1)[0] != wanted:
                return False
        if num == 0:
            raise CorruptData("a data page's levels hold an empty run.")
        left -= num
    return True


def _values(body: memoryview, num_values: int) -> list[memoryview]:
    values, position = [], 0
    length_at = _UINT32.unpack_from
    try:
        for _ in range(num_values):
            start = position + 4
            position = start + length_at(body, position)[0]
            values.append(body[start:position])
    except struct.error as error:
        raise CorruptData("a data page ends before its values do.") from error
    if position != len(body):
        raise CorruptData("a data page's values do not fill it.")
    return values


class _Compact:
    """Reads Thrift's compact protocol from `position` on."""

    def __init__(self, view: memoryview, position: int) -> None:
        self._view = view
        self.position = position

    def struct(self, depth: int = 0) -> Fields:
        """Return the integers and structs of a struct by their number; other fields are passed over."""
        fields: Fields = {}
        field = 0
        while (byte := self._byte()) != 0:
            field = field + (byte >> 4) if byte >> 4 else self._integer()
            kind = byte & 15
            if kind in _INTEGERS:
                fields[field] = self._integer()
            elif kind == _STRUCT and depth < _MAX_DEPTH:
                fields[field] = self.struct(depth + 1)
            elif kind not in _BOOLEANS:  # whose value is in the kind
                self._skip(kind, depth + 1)
        return fields

    def varint(self) -> int:
        """Return an unsigned integer."""
        value = 0
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise CorruptData("a page holds an integer of more than 64 bits.")

    def take(self, num_bytes: int) -> memoryview:
        """Return the next bytes."""
        self.position += num_bytes
        if self.position > len(self._view):
            raise CorruptData("a page's header or levels end too late.")
        return self._view[self.position - num_bytes : self.position]

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise CorruptData("a page's header nests deeper than any of Parquet's.")
        if kind in _BOOLEANS or kind == _INT8:
            self.take(1)
        elif kind in _INTEGERS:
            self.varint()
        elif kind == _DOUBLE:
            self.take(8)
        elif kind == _BINARY:
            self.take(self.varint())
        elif kind in (_LIST, _SET):
            byte = self._byte()
            for _ in range(byte >> 4 if byte >> 4 < 15 else self.varint()):
                self._skip(byte & 15, depth + 1)
        elif kind == _MAP:
            num = self.varint()
            byte = self._byte() if num else 0
            for _ in range(num):
                self._skip(byte >> 4, depth + 1)
                self._skip(byte & 15, depth + 1)
        elif kind == _STRUCT:
            self.struct(depth + 1)
        else:
            raise CorruptData(f"a page's header has a field of kind {kind}, which Thrift does not know.")

    def _integer(self) -> int:
        """Return a signed integer (zigzag: 0, -1, 1, -2, ...)."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def _byte(self) -> int:
        return self.take(1)[0]
