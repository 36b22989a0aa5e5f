"""Memory that two processes see."""

from __future__ import annotations

import os

import pytest
from unlabeled.pipeline.decode.shared_block import KEPT_BYTES, SharedBlock


def test_both_sides_see_the_same_bytes_also_after_growth() -> None:
    owner = SharedBlock.create("test", 100)
    other = SharedBlock(os.dup(owner.descriptor), owner.num_bytes)
    owner.memory[:3] = b"abc"
    assert other.memory[:3] == b"abc"
    owner.grow(10_000_000)
    other.attach_again(owner.num_bytes)
    other.memory[9_999_998:10_000_000] = b"xy"
    assert owner.memory[:3] == b"abc"
    assert owner.memory[9_999_998:10_000_000] == b"xy"
    owner.close()
    other.close()


def test_nobody_can_shrink_it() -> None:
    block = SharedBlock.create("test", 100)
    with pytest.raises(PermissionError):
        os.ftruncate(block.descriptor, 10)
    block.grow(10)
    assert block.num_bytes == 4096
    block.close()


def test_large_content_is_given_back() -> None:
    block = SharedBlock.create("test", KEPT_BYTES + (8 << 20))
    for offset in range(0, block.num_bytes, 4096):
        block.memory[offset] = 1
    before = os.fstat(block.descriptor).st_blocks
    block.release()
    assert os.fstat(block.descriptor).st_blocks == before - (8 << 20) // 512
    assert block.memory[0] == 1
    assert block.memory[KEPT_BYTES] == 0
    block.close()
