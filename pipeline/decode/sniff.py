"""What bytes are, by their magic numbers: for verdicts on what no decoder took, never to choose a decoder."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

#: (offset, magic, name); the first match counts. Names of allowed image formats are Pillow's, in lower case.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (4, b"ftypavif", "avif"),
    (4, b"ftypavis", "avif"),
    (4, b"ftyphei", "heic"),
    (4, b"ftyphev", "heic"),
    (4, b"ftypmif1", "heif"),
    (4, b"ftypmsf1", "heif"),
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (4, b"mdat", "mp4"),
    (0, b"\0\0\0\x0cjP  ", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\xff\x0a", "jpeg xl"),
    (0, b"\0\0\0\x0cJXL ", "jpeg xl"),
    (0, b"8BPS", "psd"),
    (0, b"%!PS", "eps"),
    (0, b"\xc5\xd0\xd3\xc6", "eps"),
    (0, b"%PDF", "pdf"),
    (0, b"\0\0\1\0", "ico"),
    (0, b"\0\0\2\0", "cur"),
    (0, b"icns", "icns"),
    (0, b"DDS ", "dds"),
    (0, b"qoif", "qoi"),
    (0, b"\x01\xda", "sgi"),
    (0, b"SIMPLE  =", "fits"),
    (0, b"\x59\xa6\x6a\x95", "sun"),
    (0, b"\xd7\xcd\xc6\x9a", "wmf"),
    (40, b" EMF", "emf"),
    (0, b"/* XPM", "xpm"),
    (0, b"\x76\x2f\x31\x01", "openexr"),
    (0, b"#?RADIANCE", "radiance"),
    (0, b"P7 332", "xv thumbnail"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"GRIB", "grib"),
    (0, b"BUFR", "bufr"),
    (0, b"\xb1\x68\xde\x3a", "dcx"),
    (0, b"DanM", "msp"),
    (0, b"LinS", "msp"),
    (0, b"BLP1", "blp"),
    (0, b"BLP2", "blp"),
    (0, b"FTEX", "ftex"),
    (0, b"FTC\0", "ftex"),
    (0, b"\x80\xe8\0\0", "pixar"),
    (128, b"DICM", "dicom"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (8, b"WAVE", "wav"),
    (8, b"ACON", "ani"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"FLV\1", "flv"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"\0\0\1\xb3", "mpeg"),
    (0, b"PK\3\4", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"(\xb5/\xfd", "zstandard"),
    (257, b"ustar", "tar"),
    (0, b"PAR1", "parquet"),
    (0, b"\x7fELF", "elf"),
    (0, b"SQLite format 3\0", "sqlite"),
)
_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"<!doctype\s+html|<html|<head|<body", re.IGNORECASE), "html"),
    (re.compile(rb"<svg|<\?xml", re.IGNORECASE), "xml"),
    (re.compile(rb"#define\s+\w+_width"), "xbm"),
    (re.compile(rb"version https://git-lfs"), "git lfs pointer"),
    (re.compile(rb"Image type: "), "im"),
)
#: Formats with a weak magic number: several bytes must fit together.
_PATTERNS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"P[0-7fF]\s|P0CMYK|Py"), "ppm"),
    (re.compile(rb"\x0a[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08]", re.DOTALL), "pcx"),
    (re.compile(rb".{4}[\x11\x12]\xaf.{8}[\x00\x03]\x00", re.DOTALL), "fli"),
    (re.compile(rb".{20}GIMP", re.DOTALL), "gbr"),
    (re.compile(rb"\x00{7}\x04"), "mcidas"),
)


def sniff(data: bytes) -> str | None:
    """Return the name of the kind of file that `data` begins like, or None where it resembles nothing known."""
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    for pattern, name in _PATTERNS:
        if pattern.match(data):
            return name
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return "tga"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((name for pattern, name in _TEXTS if pattern.match(start)), None)


def ends_early(kind: str, data: bytes) -> bool:
    """Return True where an image of this kind, by its own structure, goes on beyond the end of `data`."""
    check = _ENDS_EARLY.get(kind)
    return check is not None and check(data)


def _jpeg_ends_early(data: bytes) -> bool:
    return b"\xff\xd9" not in data[-4096:]


def _png_ends_early(data: bytes) -> bool:
    position = 8
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if name == b"IEND":
            return False
    return True


def _riff_ends_early(data: bytes) -> bool:
    return len(data) < 12 or struct.unpack_from("<I", data, 4)[0] + 8 > len(data)


def _bmp_ends_early(data: bytes) -> bool:
    return len(data) < 26 or struct.unpack_from("<I", data, 2)[0] > len(data)


def _gif_ends_early(data: bytes) -> bool:
    position = 13 + _gif_palette_bytes(data, 10)
    while position < len(data):
        kind = data[position]
        if kind not in (0x21, 0x2C):
            return False  # the trailer, or damage
        position += 2 if kind == 0x21 else 11 + _gif_palette_bytes(data, position + 9)
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return True


def _gif_palette_bytes(data: bytes, flags_at: int) -> int:
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _boxes_end_early(data: bytes) -> bool:
    position = 0
    while position + 8 <= len(data):
        length = struct.unpack_from(">I", data, position)[0]
        if length < 8:  # 0: to the end of the file; 1: a 64-bit length follows
            return False
        position += length
    return position != len(data)


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _jpeg_ends_early,
    "png": _png_ends_early,
    "webp": _riff_ends_early,
    "bmp": _bmp_ends_early,
    "gif": _gif_ends_early,
    "avif": _boxes_end_early,
}
