from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.byte_ranges import JUMP_BLOCK_BYTES, RangedBytes, SparseBytes
from unlabeled.pipeline.decode.bytes_source import NamelessFile
from unlabeled.pipeline.errors import Reject, RejectReason, Stage
from unlabeled.pipeline.storage import Store

DATA = bytes(range(256)) * 40_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("big"))
    store.create("k", DATA)
    return store


def test_a_range_is_a_source_of_its_own(big: Store) -> None:
    source = RangedBytes(big, "k", 100, 50, "")
    assert source.num_bytes == 50
    assert source.read(0, 50) == DATA[100:150]
    assert source.read(40, 100) == DATA[140:150]
    assert source.read(50, 1) == b""


def test_what_is_gone_or_changed_is_a_reject(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put("k", b"one")
    source = RangedBytes(store, "k", 0, 3, store.head("k").etag)
    store.put("k", b"two")
    with pytest.raises(Reject) as caught:
        source.read(0, 3)
    assert (caught.value.reason, caught.value.stage) == (RejectReason.CHANGED, Stage.READ)
    store.delete(["k"])
    with pytest.raises(Reject) as caught:
        source.read(0, 3)
    assert (caught.value.reason, caught.value.is_permanent) == (RejectReason.MISSING, False)


@given(steps=st.lists(st.tuples(st.integers(0, len(DATA) + 10), st.integers(0, 100_000)), max_size=8))
def test_a_sparse_file_reads_as_any_file(big: Store, steps: list[tuple[int, int]]) -> None:
    file, plain = NamelessFile(SparseBytes(RangedBytes(big, "k", 0, len(DATA), ""))), io.BytesIO(DATA)
    for position, size in steps:
        assert file.seek(position) == plain.seek(position)
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()


def test_large_contents_are_jumped_over(big: Store) -> None:
    source = SparseBytes(RangedBytes(big, "k", 0, len(DATA), ""))
    for position in (0, 3_000_000, 9_000_000):
        assert source.read(position, 512) == DATA[position : position + 512]
    assert source.num_bytes_fetched == 3 * JUMP_BLOCK_BYTES


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "k").open("wb") as sparse:
        sparse.truncate(1 << 30)
    source = SparseBytes(RangedBytes(Store.open(tmp_path), "k", 0, 1 << 30, ""))
    with pytest.raises(Reject, match="claims"):
        source.read(0, 100 << 20)
