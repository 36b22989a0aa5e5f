"""Documents of a text source, whole and in byte ranges."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.decode.bytes_source import Blocks, MemoryBytes
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.decode.text import TextLayout, TextOptions, read_documents
from unlabeled.pipeline.errors import Reject
from unlabeled.pipeline.items import Document

from tests.media_files import real_media


def read(data: bytes, part: tuple[int, int] | None = None, **options: object) -> list[Document]:
    source = Blocks(MemoryBytes(data), block_bytes=64, num_kept=2)
    return list(read_documents(source, Limits(), TextOptions(**options), part_bytes=part))  # type: ignore[arg-type]


def texts(data: bytes, **options: object) -> list[str]:
    return [document.text for document in read(data, **options)]


def rejected(data: bytes, **options: object) -> Reject:
    with pytest.raises(Reject) as caught:
        read(data, **options)
    return caught.value


def test_a_source_is_one_document() -> None:
    assert texts("Erste Zeile\n\nzweite ‰\n".encode()) == ["Erste Zeile\n\nzweite ‰"]


def test_a_byte_order_mark_is_no_text() -> None:
    document = read(b"\xef\xbb\xbfword")[0]
    assert (document.text, document.start_byte) == ("word", 0)


def test_line_ends_become_line_feeds() -> None:
    assert texts(b"a\r\nb\rc\n") == ["a\nb\nc"]


def test_a_long_source_is_cut_at_lines_on_a_grid() -> None:
    lines = [b"%03d\n" % number for number in range(100)]
    pieces = read(b"".join(lines), piece_bytes=50)
    assert "\n".join(piece.text for piece in pieces).encode() + b"\n" == b"".join(lines)
    assert [piece.start_byte for piece in pieces] == [0, *(-(-start // 4) * 4 for start in range(50, 400, 50))]


def test_blank_lines_separate_paragraphs() -> None:
    found = read(b"\none\nmore\n \t\n\ntwo\n\n", layout=TextLayout.PARAGRAPHS)
    assert [(document.text, document.start_byte) for document in found] == [("one\nmore", 1), ("two", 14)]


def test_a_long_paragraph_is_cut_at_lines() -> None:
    assert texts(b"aaaa\nbbbb\ncccc\n\nd", layout=TextLayout.PARAGRAPHS, piece_bytes=10) == ["aaaa\nbbbb", "cccc", "d"]


def test_every_line_is_a_document() -> None:
    assert texts(b"one\n\ntwo\r\nthree", layout=TextLayout.LINES) == ["one", "two", "three"]


def test_a_field_of_json_lines() -> None:
    rows = [{"text": "é\nline two", "id": 1}, {"text": "  "}, {"text": "end"}]
    data = b"\n".join(json.dumps(row).encode() for row in rows)
    assert texts(data, layout=TextLayout.JSONL) == ["é\nline two", "end"]


def test_another_field_of_json_lines() -> None:
    assert texts(b'{"body": "x"}\n', layout=TextLayout.JSONL, field="body") == ["x"]


@pytest.mark.parametrize("line", [b'{"text": 1}', b"[]", b"{", b"{}", b"[" * 100_000, b'{"other": "x"}'])
def test_a_line_that_is_not_the_json_asked_for_is_corrupt(line: bytes) -> None:
    reject = rejected(b'{"text": "x"}\n' + line, layout=TextLayout.JSONL)
    assert (reject.reason, reject.offset_bytes) == ("corrupt", 14)


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"caf\xe9 au lait", 3),
        (b"abc\0def", 3),
        ("word".encode("utf-16"), 0),
        (b"x" * 200 + b"\n\xff\n", 201),
        (b"\xef\xbb\xbfab\xff", 5),
    ],
)
def test_only_utf8_is_read(data: bytes, offset: int) -> None:
    reject = rejected(data)
    assert (reject.reason, reject.offset_bytes) == ("bad_encoding", offset)


def test_half_a_surrogate_pair_is_bad_encoding() -> None:
    assert rejected(b'{"text": "\\ud800"}', layout=TextLayout.JSONL).reason == "bad_encoding"


@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_a_source_without_text_is_empty(data: bytes) -> None:
    assert rejected(data).reason == "empty"


def test_a_line_that_is_too_long_is_rejected_where_it_starts() -> None:
    reject = rejected(b"ok\n" + b"x" * 5_000, max_line_bytes=1_000)
    assert (reject.reason, reject.offset_bytes) == ("limit_bytes", 3)


def test_output_is_limited() -> None:
    source = MemoryBytes(b"12345\n" * 10)
    with pytest.raises(Reject) as caught:
        list(read_documents(source, Limits(max_output_bytes=12), TextOptions(layout=TextLayout.LINES)))
    assert caught.value.reason == "limit_output"


def test_a_part_without_a_document_is_no_reject() -> None:
    assert read(b"one long line", part=(4, 8)) == []


SNIPPETS = st.sampled_from([b"\n", b"\r\n", b"  \n", b"word", "Übung ".encode(), b"\n\n", b'{"text": "a"}\n', b"\r"])


@given(
    data=st.lists(SNIPPETS, max_size=40).map(b"".join),
    has_mark=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    layout=st.sampled_from([TextLayout.WHOLE, TextLayout.PARAGRAPHS, TextLayout.LINES]),
    piece_bytes=st.integers(1, 40),
)
def test_ranges_give_each_document_once(
    data: bytes, has_mark: bool, cuts: list[int], layout: TextLayout, piece_bytes: int
) -> None:
    data = b"\xef\xbb\xbf" * has_mark + data
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    options = {"layout": layout, "piece_bytes": piece_bytes}
    whole = read(data, (0, len(data)), **options)
    parts = [document for part in pairwise(borders) for document in read(data, part, **options)]
    assert parts == whole


@given(
    rows=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=10), cut=st.integers(0, 99)
)
def test_json_lines_come_back_as_written_from_two_ranges(rows: list[str], cut: int) -> None:
    data = b"".join(json.dumps({"text": row}).encode() + b"\n" for row in rows)
    cut = min(cut, len(data))
    halves = [*read(data, (0, cut), layout=TextLayout.JSONL), *read(data, (cut, len(data)), layout=TextLayout.JSONL)]
    expected = [row.replace("\r\n", "\n").replace("\r", "\n") for row in rows]
    assert [document.text for document in halves] == [row for row in expected if row.strip()]


@pytest.mark.real_media
def test_real_text_is_read_as_it_stands() -> None:
    contents = real_media("text/text.tar.xz")
    sources = {name: data for name, data in contents.items() if name.endswith(".txt")}
    assert len(sources) == 28
    for data in sources.values():
        pieces = read(data)
        assert pieces[0].start_byte == 0
        assert "\n".join(piece.text for piece in pieces).split() == data.decode("utf-8-sig").split()
