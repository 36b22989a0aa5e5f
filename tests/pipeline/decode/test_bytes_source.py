"""Sources, their blocks, and the nameless file over them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.decode.bytes_source import Blocks, MemoryBytes, NamelessFile

DATA = bytes(range(256)) * 5


class Counting:
    """A source that notes what is read of it."""

    num_bytes = len(DATA)

    def __init__(self) -> None:
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return DATA[offset : offset + length]


@given(st.integers(0, 1400), st.integers(0, 1400), st.integers(1, 400), st.integers(1, 4))
def test_blocks_give_what_the_source_gives(offset: int, length: int, block_bytes: int, num_kept: int) -> None:
    blocks = Blocks(MemoryBytes(DATA), block_bytes=block_bytes, num_kept=num_kept)
    assert blocks.read(offset, length) == DATA[offset : offset + length]


def test_reads_are_whole_aligned_blocks_and_repeated_ones_cost_nothing() -> None:
    source = Counting()
    blocks = Blocks(source, block_bytes=512)
    blocks.read(500, 30)
    blocks.read(10, 900)
    assert source.reads == [(0, 512), (512, 512)]
    assert blocks.num_bytes_fetched == 1024


def test_only_the_latest_blocks_are_kept() -> None:
    source = Counting()
    blocks = Blocks(source, block_bytes=256, num_kept=2)
    for offset in (0, 256, 0, 512, 0, 256):
        blocks.read(offset, 1)
    assert [offset for offset, _ in source.reads] == [0, 256, 512, 256]


def test_a_source_that_is_shorter_than_it_says_ends_the_read() -> None:
    source = Counting()
    source.num_bytes = 5000  # type: ignore[misc]
    assert Blocks(source, block_bytes=512).read(1200, 500) == DATA[1200:]


@pytest.mark.parametrize("bad", [{"block_bytes": 0}, {"num_kept": 0}])
def test_senseless_blocks_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Blocks(MemoryBytes(b""), **bad)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 700)),
        st.tuples(st.just("seek"), st.integers(0, 1500)),
        st.tuples(st.just("readinto"), st.integers(0, 300)),
    )
)


@given(steps)
def test_the_file_behaves_like_one_in_memory(steps: list[tuple[str, int]]) -> None:
    ours, theirs = NamelessFile(MemoryBytes(DATA)), io.BytesIO(DATA)
    for what, number in steps:
        if what == "readinto":
            one, other = bytearray(number), bytearray(number)
            assert ours.readinto(one) == theirs.readinto(other)
            assert one == other
        else:
            assert getattr(ours, what)(number) == getattr(theirs, what)(number)
        assert ours.tell() == theirs.tell()


def test_seeking_from_the_end_and_from_here() -> None:
    file = NamelessFile(MemoryBytes(DATA))
    assert file.seek(-4, io.SEEK_END) == len(DATA) - 4
    assert file.read() == DATA[-4:]
    assert file.seek(-2, io.SEEK_CUR) == len(DATA) - 2
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)


def test_the_file_has_no_name() -> None:
    assert not hasattr(NamelessFile(MemoryBytes(DATA)), "name")
