"""Text: documents of a UTF-8 source, read as a stream, the same however the source is cut into byte ranges.

A document belongs to the range in which it starts, and ranges may be cut anywhere: each begins with the first line
that starts in it. So the documents of the ranges, one after another, are those of the whole source.

Only UTF-8 is read, strictly, with or without a byte order mark: any other encoding would be a guess, and a wrong guess
is text that nobody wrote. Line ends of any kind become line feeds; those at the end of a document are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ..errors import Reject, RejectReason
from ..items import Document
from .bytes_source import ByteSource
from .limits import Limits

_BLOCK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")


class TextLayout(StrEnum):
    """How documents stand in a source."""

    #: The source is one document; a long one is cut into pieces, each beginning with the first line that starts in
    #: the next `piece_bytes` of the source.
    WHOLE = "whole"
    #: Documents are separated by blank lines; a longer one than `piece_bytes` is cut at line ends.
    PARAGRAPHS = "paragraphs"
    #: Every line is a document.
    LINES = "lines"
    #: Every line is a JSON object, one field of which is the document.
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a source is read as documents.

    Args:
        layout: how documents stand in the source.
        field: name of the text in a JSON object.
        piece_bytes: size from which `whole` and `paragraphs` documents are cut into pieces.
        max_line_bytes: a longer line is a reject, `limit_bytes`; no more than this and a piece are held in memory.
    """

    layout: TextLayout = TextLayout.WHOLE
    field: str = "text"
    piece_bytes: int = 1 << 20
    max_line_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its line end, and where it starts in the source; the first one with its byte order mark."""

    start_byte: int
    data: bytes

    @property
    def is_blank(self) -> bool:
        return not (self.data if self.start_byte else self.data.removeprefix(_BOM)).strip()


def read_documents(
    source: ByteSource, limits: Limits, options: TextOptions, *, part_bytes: tuple[int, int] | None = None
) -> Iterator[Document]:
    """Yield the documents that start in [start, end) of the source, in order; blank ones are left out.

    Args:
        source: the bytes.
        limits: `max_source_bytes`, and `max_output_bytes` of all documents together.
        options: layout and sizes.
        part_bytes: start and end; the whole source where None.

    Raises:
        Reject: `bad_encoding` (with the offset), `corrupt` for a line that is not the JSON asked for, `limit_bytes`
            for a line that is too long, `limit_output`; `empty` where the whole source holds no text.
    """
    if source.num_bytes > limits.max_source_bytes:
        raise Reject(RejectReason.LIMIT_BYTES, f"{source.num_bytes} bytes, max_source_bytes={limits.max_source_bytes}")
    start, end = part_bytes or (0, source.num_bytes)
    num_bytes_out = num_documents = 0
    for document in _LAYOUTS[options.layout](source, start, end, options):
        num_documents += 1
        num_bytes_out += len(document.text.encode())
        if num_bytes_out > limits.max_output_bytes:
            raise Reject(RejectReason.LIMIT_OUTPUT, f"more than max_output_bytes={limits.max_output_bytes}")
        yield document
    if num_documents == 0 and part_bytes is None:
        raise Reject(RejectReason.EMPTY, "the source holds no text")


def _whole(source: ByteSource, start: int, end: int, options: TextOptions) -> Iterator[Document]:
    """Pieces lie on a grid of `piece_bytes`, so that any range finds the same ones without what stands before it."""
    grid = options.piece_bytes
    piece: list[_Line] = []
    for line in _lines_from(source, start - start % grid, options.max_line_bytes):
        if piece and line.start_byte // grid > piece[0].start_byte // grid:
            if piece[0].start_byte >= start:
                yield from _document(piece)
            piece = []
        if not piece and line.start_byte >= end:
            return
        piece.append(line)
    if piece and piece[0].start_byte >= start:
        yield from _document(piece)


def _paragraphs(source: ByteSource, start: int, end: int, options: TextOptions) -> Iterator[Document]:
    piece: list[_Line] = []
    is_inside: bool | None = None  # of a run of lines without a blank one between them
    is_ours = False  # that run started in the range
    for line in _lines_from(source, start, options.max_line_bytes):
        if is_inside is None:
            is_inside = not _follows_blank(source, line.start_byte)
        if line.is_blank:
            yield from _document(piece)
            piece, is_inside, is_ours = [], False, False
            continue
        if not is_inside:
            is_inside, is_ours = True, line.start_byte < end
        if not is_ours and line.start_byte >= end:
            return
        if piece and line.start_byte + len(line.data) > piece[0].start_byte + options.piece_bytes:
            yield from _document(piece)
            piece = []
        if is_ours:
            piece.append(line)
    yield from _document(piece)


def _lines(source: ByteSource, start: int, end: int, options: TextOptions) -> Iterator[Document]:
    for line in _lines_from(source, start, options.max_line_bytes):
        if line.start_byte >= end:
            return
        yield from _document([line])


def _jsonl(source: ByteSource, start: int, end: int, options: TextOptions) -> Iterator[Document]:
    for line in _lines_from(source, start, options.max_line_bytes):
        if line.start_byte >= end:
            return
        if not line.is_blank:
            text = _normalised(_json_field(line, options.field))
            if text.strip():
                yield Document(media_kind="text", codec="utf-8", text=text, start_byte=line.start_byte)


_LAYOUTS = {
    TextLayout.WHOLE: _whole,
    TextLayout.PARAGRAPHS: _paragraphs,
    TextLayout.LINES: _lines,
    TextLayout.JSONL: _jsonl,
}


def _document(lines: list[_Line]) -> Iterator[Document]:
    """Yield the document that the lines make, nothing where they are blank."""
    if not lines:
        return
    data = b"".join(line.data for line in lines)
    text = _normalised(_decode(data, lines[0].start_byte)).rstrip("\n")
    if text.strip():
        yield Document(media_kind="text", codec="utf-8", text=text, start_byte=lines[0].start_byte)


def _json_field(line: _Line, field: str) -> str:
    text = _decode(line.data, line.start_byte)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Reject(RejectReason.CORRUPT, f"not JSON: {error}", offset_bytes=line.start_byte) from error
    found = record.get(field) if isinstance(record, dict) else None
    if not isinstance(found, str):
        message = f"no object with the text field {field!r}"
        raise Reject(RejectReason.CORRUPT, message, offset_bytes=line.start_byte)
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise Reject(RejectReason.BAD_ENCODING, "half a surrogate pair", offset_bytes=line.start_byte)
    return found


def _decode(data: bytes, start_byte: int) -> str:
    if start_byte == 0 and data.startswith(_BOM):
        data, start_byte = data[len(_BOM) :], len(_BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start_byte + error.start
        raise Reject(RejectReason.BAD_ENCODING, f"not UTF-8: {error.reason}", offset_bytes=offset) from error
    if "\0" in text:
        offset = start_byte + data.index(b"\0")
        raise Reject(RejectReason.BAD_ENCODING, "a zero byte: binary, or UTF-16 or 32", offset_bytes=offset)
    return text


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines_from(source: ByteSource, start: int, max_line_bytes: int) -> Iterator[_Line]:
    """Yield the lines that start at `start` or later, to the end of the source."""
    position = _first_line(source, start, max_line_bytes)
    if position == 0 and source.read(0, 2) in _OTHER_BOMS:
        raise Reject(RejectReason.BAD_ENCODING, "UTF-16 or UTF-32; only UTF-8 is read", offset_bytes=0)
    held = b""  # the beginning of a line, which stands at `position`
    while block := source.read(position + len(held), _BLOCK_BYTES):
        *complete, held = (held + block).split(b"\n")
        for line in complete:
            _check_length(line, position, max_line_bytes)
            yield _Line(position, line + b"\n")
            position += len(line) + 1
        _check_length(held, position, max_line_bytes)
    if held:
        yield _Line(position, held)


def _check_length(line: bytes, position: int, max_line_bytes: int) -> None:
    if len(line) > max_line_bytes:
        raise Reject(RejectReason.LIMIT_BYTES, f"a line exceeds {max_line_bytes} bytes", offset_bytes=position)


def _first_line(source: ByteSource, start: int, max_line_bytes: int) -> int:
    """Return where the first line starts that starts at `start` or later; the source's end where none does."""
    position = start - 1
    while 0 <= position < source.num_bytes:
        block = source.read(position, _BLOCK_BYTES)
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
        if position - start > max_line_bytes:
            raise Reject(RejectReason.LIMIT_BYTES, f"a line exceeds {max_line_bytes} bytes", offset_bytes=start)
    return 0 if start <= 0 else source.num_bytes


def _follows_blank(source: ByteSource, line_start: int) -> bool:
    """Return whether the line before the one at `line_start` is blank, or there is none."""
    end = line_start - 1  # the line feed of the line before
    while end > 0:
        begin = max(0, end - _BLOCK_BYTES)
        _, feed, tail = source.read(begin, end - begin).rpartition(b"\n")
        if begin == 0 and not feed:
            tail = tail.removeprefix(_BOM)
        if tail.strip():
            return False
        if feed:
            return True
        end = begin
    return True
