from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.byte_ranges import RangedBytes
from unlabeled.pipeline.containers import CACHE_FOLDER, RUN_BYTES, index_container, index_parquet, index_tar
from unlabeled.pipeline.errors import ConfigError, Reject, RejectReason
from unlabeled.pipeline.storage import Store

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def tar_bytes(members: list[tuple[str, bytes]], format_: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format_) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def source_of(folder: Path, data: bytes) -> RangedBytes:
    (folder / "c").write_bytes(data)
    return RangedBytes(Store.open(folder), "c", 0, len(data), "")


def rows_of(folder: Path, data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = index_tar(source_of(folder, data)).to_pylist()
    return rows


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_members_are_found_with_their_bytes(tmp_path: Path, format_: int) -> None:
    members = [("a.jpg", b"123"), ("long/" * 60 + "ünï é+%#?.jpg", os.urandom(5000)), ("./empty", b""), ("z", b"4")]
    data = tar_bytes(members, format_)
    rows = rows_of(tmp_path, data)
    assert [row["member"] for row in rows] == [name for name, _ in members]
    for row, (_, content) in zip(rows, members, strict=True):
        assert data[row["offset_bytes"] :][: row["num_bytes"]] == content
        assert (row["reason"], row["row"], row["row_group"]) == ("", -1, -1)


@given(sizes=st.lists(st.integers(0, RUN_BYTES + 10), max_size=5))
def test_a_run_is_short_unless_it_is_one_member(sizes: list[int]) -> None:
    from unlabeled.pipeline.containers import _Member, _runs

    offsets = [sum(size + 512 for size in sizes[:place]) for place in range(len(sizes))]
    members = [_Member(str(at), size, at) for at, size in zip(offsets, sizes, strict=True)]
    runs = [int(run) for run in _runs(members)]
    assert runs == sorted(runs)
    for run in set(runs):
        mine = [member for member, number in zip(members, runs, strict=True) if number == run]
        length = mine[-1].offset_bytes + mine[-1].num_bytes - mine[0].offset_bytes
        assert length <= RUN_BYTES or len(mine) == 1


def test_folders_are_left_out_and_links_rejected(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in (("dir", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "x"
            archive.addfile(info)
    rows = rows_of(tmp_path, sink.getvalue())
    assert [(row["member"], row["reason"]) for row in rows] == [
        ("link", "unsupported_feature"),
        ("hard", "unsupported_feature"),
    ]


def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    data = tar_bytes([("a", b"old"), ("b", b"x"), ("a", b"newer")])
    good = {row["member"]: row["num_bytes"] for row in rows_of(tmp_path, data) if not row["reason"]}
    bad = [row["member"] for row in rows_of(tmp_path, data) if row["reason"]]
    assert good == {"a": 5, "b": 1}
    assert bad == ["a@512"]


def test_a_name_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    data = tar_bytes([(os.fsdecode(b"bad\xff"), b"1"), ("good", b"2")], tarfile.GNU_FORMAT)
    assert [(row["member"], row["reason"]) for row in rows_of(tmp_path, data)] == [
        ("bad\\xff", "unsupported_key"),
        ("good", ""),
    ]


def _broken_header(data: bytes) -> bytes:
    return data[:1024] + b"\xff" * 512 + data[1536:]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda data: b"not a tar" + data, RejectReason.CORRUPT),
        (lambda data: data[:0], RejectReason.CORRUPT),
        (lambda data: data[:700], RejectReason.CORRUPT),
        (lambda data: data[:2048], RejectReason.TRUNCATED),
        (lambda data: data[:2000], RejectReason.CORRUPT),
        (_broken_header, RejectReason.CORRUPT),
        (lambda data: data + data, RejectReason.CORRUPT),
    ],
    ids=[
        "garbage",
        "empty",
        "cut in a member",
        "no end mark",
        "cut in the last member",
        "broken header",
        "two in one",
    ],
)
def test_nothing_of_a_broken_tar_is_used(tmp_path: Path, break_it: Any, reason: RejectReason) -> None:
    data = tar_bytes([("a", b"x" * 300), ("b", b"y" * 500)])
    assert len(rows_of(tmp_path, data)) == 2
    with pytest.raises(Reject) as caught:
        rows_of(tmp_path, break_it(data))
    assert caught.value.reason == reason


def test_a_flipped_bit_in_a_header_is_never_silent(tmp_path: Path) -> None:
    members = [("a", b"x" * 600), ("b", b"y" * 600), ("c", b"z" * 600)]
    data = tar_bytes(members, tarfile.GNU_FORMAT)
    for header in range(0, 4608, 1536):
        for place in (0, 124, 148, 156, 257):
            broken = bytearray(data)
            broken[header + place] ^= 0x04
            with pytest.raises(Reject):
                rows_of(tmp_path, bytes(broken))


def test_large_members_are_not_read(tmp_path: Path) -> None:
    from unlabeled.pipeline.byte_ranges import SparseBytes
    from unlabeled.pipeline.containers import _tar_members
    from unlabeled.pipeline.decode.bytes_source import NamelessFile

    data = tar_bytes([(str(number), bytes(3_000_000)) for number in range(5)])
    source = SparseBytes(source_of(tmp_path, data))
    assert len(_tar_members(NamelessFile(source))) == 5
    assert source.num_bytes_fetched < 10 * (64 << 10)


def parquet_source(folder: Path, table: pa.Table, **options: Any) -> RangedBytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return source_of(folder, sink.getvalue())


def images(num: int, num_bytes: int = 100) -> pa.Array:
    return pa.array([{"bytes": os.urandom(num_bytes), "path": None} for _ in range(num)], IMAGE)


def test_rows_of_a_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"label": list(range(25)), "image": images(25, 1000)})
    index = index_parquet(
        parquet_source(tmp_path, table, row_group_size=10, use_dictionary=False, write_statistics=False), None, "p"
    )
    assert index is not None
    rows = index.to_pylist()
    assert [row["member"] for row in rows] == [str(number) for number in range(25)]
    assert [row["row"] for row in rows] == list(range(25))
    assert [row["row_group"] for row in rows] == [0] * 10 + [1] * 10 + [2] * 5
    assert rows[12]["run"] == "1/image.bytes"
    assert all(1000 < row["num_bytes"] < 1010 for row in rows)


@pytest.mark.parametrize("column", ["jpg", "image", "image.bytes"])
def test_a_column_can_be_named(tmp_path: Path, column: str) -> None:
    table = pa.table({"jpg": [b"x"], "image": images(1), "txt": ["no"]})
    index = index_parquet(parquet_source(tmp_path, table), column, "p")
    assert index is not None
    assert index["run"][0].as_py() == ("0/jpg" if column == "jpg" else "0/image.bytes")


def test_a_column_of_text_is_one_where_it_is_named(tmp_path: Path) -> None:
    source = parquet_source(tmp_path, pa.table({"text": ["a", "b"], "jpg": [b"x", b"y"]}))
    named, only = index_parquet(source, "text", "p"), index_parquet(source, None, "p")
    assert named is not None
    assert only is not None
    assert (named["run"][0].as_py(), only["run"][0].as_py()) == ("0/text", "0/jpg")


def test_an_ambiguous_or_missing_column_is_named(tmp_path: Path) -> None:
    source = parquet_source(tmp_path, pa.table({"jpg": [b"x"], "image": images(1)}))
    with pytest.raises(ConfigError, match=r"several columns of bytes: jpg, image\.bytes"):
        index_parquet(source, None, "p")
    with pytest.raises(ConfigError, match=r"p has no column 'imag'.*jpg, image\.bytes.*Did you mean 'image\.bytes'"):
        index_parquet(source, "imag", "p")


def test_a_parquet_file_without_bytes_is_no_container(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "lists": [[b"x"]], "struct": pa.array([{"bytes": b"x"}])})
    assert index_parquet(parquet_source(tmp_path, table), None, "p") is None


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    index = index_parquet(parquet_source(tmp_path, pa.table({"image": images(0)})), None, "p")
    assert index is not None
    assert index.num_rows == 0


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 1000, b"PAR1" + b"x" * 1000 + b"PAR1"])
def test_a_broken_footer_is_a_reject(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Reject) as caught:
        index_parquet(source_of(tmp_path, data), None, "p")
    assert caught.value.reason == RejectReason.CORRUPT


def test_an_index_is_kept_by_key_etag_and_size(tmp_path: Path) -> None:
    store, cache = Store.open(tmp_path / "in"), Store.open(tmp_path / "out")
    store.create("w.tar", tar_bytes([("a", b"1")]))
    info = store.head("w.tar")
    first = index_container(store, info, None, cache)
    (tmp_path / "in/w.tar").unlink()
    assert index_container(store, info, None, cache) == first
    [kept] = [entry for page in cache.list() for entry in page]
    assert kept.key.startswith(CACHE_FOLDER)
    store.create("w.tar", tar_bytes([("b", b"1")]))
    again = index_container(store, store.head("w.tar"), None, cache)
    assert again is not None
    assert again["member"].to_pylist() == ["b"]


def test_a_corrupt_container_is_one_reject_and_remembered(tmp_path: Path) -> None:
    store, cache = Store.open(tmp_path / "in"), Store.open(tmp_path / "out")
    store.create("w.tar", b"garbage" * 1000)
    info = store.head("w.tar")
    first = index_container(store, info, None, cache)
    assert first is not None
    assert [(row["member"], row["reason"]) for row in first.to_pylist()] == [("", "corrupt")]
    (tmp_path / "in/w.tar").unlink()
    assert index_container(store, info, None, cache) == first


def test_a_container_that_is_gone_is_not_remembered(tmp_path: Path) -> None:
    store, cache = Store.open(tmp_path / "in"), Store.open(tmp_path / "out")
    store.create("w.tar", tar_bytes([("a", b"1")]))
    info = store.head("w.tar")
    store.delete(["w.tar"])
    index = index_container(store, info, None, cache)
    assert index is not None
    assert index["reason"].to_pylist() == ["missing"]
    assert list(cache.list()) == []
