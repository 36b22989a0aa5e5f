"""Whether a container's own structure says that bytes are missing or damaged: exact, and before anything is decoded.

Decoders stop quietly where a file ends early, so a length is compared with what the container declares: sizes of
chunks (RIFF), boxes (ISO base media), the segment (Matroska), packets (MPEG-TS); Ogg carries a checksum a page.
Formats without such a structure (MP3, ADTS, FLAC, FLV, fragmented MP4) have nothing to compare here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ..errors import Reject, RejectReason
from .bytes_source import ByteSource

_MAX_PARTS = 1_000_000
#: Sizes that writers put where the length was unknown when they wrote the header.
_UNKNOWN_RIFF_BYTES = 0x7FFF_0000
_BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ISO_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"sidx"})
_OGG_END = 4
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Completeness:
    """What a container's structure says of its length.

    Args:
        is_known: False for formats that do not tell, and for recordings whose writer never came to state it.
        missing: a sentence on what is missing at the end, or None.
    """

    is_known: bool
    missing: str | None = None

    @property
    def may_end_early(self) -> bool:
        """False where nothing is known to be missing: then an error at the end is damage, not an early end."""
        return not self.is_known or self.missing is not None


_UNKNOWN = Completeness(is_known=False)
_COMPLETE = Completeness(is_known=True)


def completeness(source: ByteSource) -> Completeness:
    """Return whether bytes are missing at the end of the source, as far as its container tells.

    Raises:
        Reject: `corrupt`, with the offset, where an Ogg page fails its checksum or pages are lost.
    """
    head = source.read(0, 400)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return _riff_pieces(source) if head[8:12] == b"AVI " else _riff_sound(source, head)
    if head[4:8] in _ISO_FIRST:
        return _boxes(source)
    if head[:4] == _EBML:
        return _segment(source)
    if head[:4] == b"OggS":
        return _ogg(source)
    return _packets(source, head)


def _missing(message: str) -> Completeness:
    return Completeness(is_known=True, missing=message)


def _compare(source: ByteSource, what: str, end: int) -> Completeness:
    if end <= source.num_bytes:
        return _COMPLETE
    return _missing(f"{what} ends at byte {end}, the source at {source.num_bytes}")


def _riff_sound(source: ByteSource, head: bytes) -> Completeness:
    order = ">" if head[:4] == b"RIFX" else "<"
    position, wide_bytes = 12, None
    for _ in range(_MAX_PARTS):
        header = source.read(position, 8)
        if len(header) < 8:
            return _missing(f"the header ends at byte {source.num_bytes}, before the sound")
        name, size = header[:4], struct.unpack(order + "I", header[4:])[0]
        if name == b"ds64":
            wide_bytes = struct.unpack("<Q", source.read(position + 16, 8).ljust(8, b"\0"))[0]
        if name == b"data":
            if size >= _UNKNOWN_RIFF_BYTES:
                return _compare(source, "the sound", position + 8 + wide_bytes) if wide_bytes else _UNKNOWN
            return _compare(source, "the sound", position + 8 + size)
        position += 8 + size + size % 2
    return _UNKNOWN


def _riff_pieces(source: ByteSource) -> Completeness:
    position = 0
    while position + 12 <= source.num_bytes:
        header = source.read(position, 12)
        size = struct.unpack("<I", header[4:8])[0]
        if header[:4] != b"RIFF":
            return _COMPLETE
        if size == 0 or size >= _UNKNOWN_RIFF_BYTES:
            return _UNKNOWN
        found = _compare(source, "the RIFF piece", position + 8 + size)
        if found.missing:
            return found
        position += 8 + size + size % 2
    return _COMPLETE


def _boxes(source: ByteSource) -> Completeness:
    position = 0
    for _ in range(_MAX_PARTS):
        header = source.read(position, 16)
        if len(header) < 8:
            return _COMPLETE
        size, name = struct.unpack(">I", header[:4])[0], header[4:8]
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        if name == b"moof":
            return _UNKNOWN  # fragments: to walk them all would be to read everything; the end shows while decoding
        if size < 8 or not all(32 <= byte < 127 for byte in name):
            return _COMPLETE  # the last box, or padding behind it
        found = _compare(source, f"the box {name.decode()}", position + size)
        if found.missing:
            return found
        position += size
    return _UNKNOWN


def _segment(source: ByteSource) -> Completeness:
    size, num_bytes = _ebml_size(source, 4)
    position = 4 + num_bytes + (size or 0)
    if source.read(position, 4) != _SEGMENT:
        return _UNKNOWN
    size, num_bytes = _ebml_size(source, position + 4)
    return _UNKNOWN if size is None else _compare(source, "the segment", position + 4 + num_bytes + size)


def _ebml_size(source: ByteSource, position: int) -> tuple[int | None, int]:
    """Return an element's size (None: unknown, as in a live recording) and the number of bytes that state it."""
    first = source.read(position, 1)
    if not first or first[0] == 0:
        return None, 1
    num_bytes = 9 - first[0].bit_length()
    ones = (1 << 7 * num_bytes) - 1
    size = int.from_bytes(source.read(position, num_bytes), "big") & ones
    return (None if size == ones else size), num_bytes


def _packets(source: ByteSource, head: bytes) -> Completeness:
    for packet_bytes, first in ((188, 0), (192, 4), (204, 0)):
        starts = range(first, len(head), packet_bytes)
        if len(starts) > 1 and all(head[start] == 0x47 for start in starts):
            left = source.num_bytes % packet_bytes
            return _missing(f"the last packet has {left} of {packet_bytes} bytes") if left else _UNKNOWN
    return _UNKNOWN


def _ogg(source: ByteSource) -> Completeness:
    """Walk the pages: every checksum, every page number, and the mark on the last page of each stream."""
    position = 0
    numbers: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    while position < source.num_bytes:
        header = source.read(position, 282)
        if header[:4] != b"OggS":
            break
        if len(header) < 27 or len(header) < 27 + header[26]:
            return _missing(f"the page at byte {position} has no full header")
        num_bytes = 27 + header[26] + sum(header[27 : 27 + header[26]])
        found = _compare(source, "the last page", position + num_bytes)
        if found.missing:
            return found
        _check_page(source.read(position, num_bytes), position, numbers)
        serial = header[14:18]
        open_streams.discard(serial) if header[5] & _OGG_END else open_streams.add(serial)
        position += num_bytes
    if not open_streams:
        return _COMPLETE  # what follows the last page is not Ogg's: tags and padding
    if position < source.num_bytes:
        raise Reject(RejectReason.CORRUPT, "no Ogg page where one must start", offset_bytes=position)
    return _missing("the last page is not marked as the last")


def _check_page(page: bytes, position: int, numbers: dict[bytes, int]) -> None:
    stored = struct.unpack("<I", page[22:26])[0]
    if _ogg_crc(page[:22] + bytes(4) + page[26:]) != stored:
        raise Reject(RejectReason.CORRUPT, "an Ogg page fails its checksum", offset_bytes=position)
    serial, number = page[14:18], struct.unpack("<I", page[18:22])[0]
    if number and number != numbers.get(serial, -1) + 1:
        raise Reject(RejectReason.CORRUPT, f"Ogg pages before number {number} are lost", offset_bytes=position)
    numbers[serial] = number


def _ogg_crc(data: bytes) -> int:
    """Return Ogg's checksum: zlib's polynomial, but most significant bit first and without inversion."""
    reflected = zlib.crc32(data.translate(_BIT_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{reflected:032b}"[::-1], 2)
