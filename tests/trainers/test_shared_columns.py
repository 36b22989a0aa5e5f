"""Columns cross shared memory as they are, and parts make the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from unlabeled.pipeline.decode.shared_block import SharedBlock
from unlabeled.trainers.shared_columns import equally_long, interleaved, put_columns, view_columns

DTYPES = st.sampled_from([np.dtype(name) for name in ("u1", "i8", "f4", "f8", "?")])
CELLS = st.one_of(
    arrays(DTYPES, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.integers(),
    st.none(),
)


@pytest.fixture(scope="module")
def block() -> Iterator[SharedBlock]:
    made = SharedBlock.create("test")
    yield made
    made.close()


@given(st.dictionaries(st.text(max_size=3), CELLS | st.lists(CELLS | st.lists(CELLS, max_size=2), max_size=3)))
def test_columns_cross_as_they_are(block: SharedBlock, columns: dict[str, Any]) -> None:
    seen = view_columns(block, put_columns(block, columns))
    np.testing.assert_equal(_plain(seen), _plain(columns))
    del seen


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return bytes(value) if isinstance(value, memoryview) else value


def test_a_block_grows_to_what_a_batch_needs(block: SharedBlock) -> None:
    large = np.arange(2**20)
    message = put_columns(block, {"x": large})
    assert message["num_bytes"] == block.num_bytes >= large.nbytes
    assert np.array_equal(view_columns(block, message)["x"], large)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_bundles_of_the_parts_come_in_turn(num_parts: int, bundle_size: int, num_each: int) -> None:
    whole = np.arange(num_parts * bundle_size * num_each)
    bundles = whole.reshape(-1, bundle_size)
    parts = [bundles[number::num_parts].reshape(-1) for number in range(num_parts)]
    assert np.array_equal(interleaved(parts, bundle_size), whole)
    assert interleaved([part.tolist() for part in parts], bundle_size) == whole.tolist()


def test_rows_that_differ_in_shape_are_a_list() -> None:
    found = interleaved([np.zeros((2, 3)), [np.ones(1), np.ones(2)]], 1)
    assert [row.tolist() for row in found] == [[0, 0, 0], [1], [0, 0, 0], [1, 1]]


def test_sounds_are_padded_to_the_longest_of_all_parts() -> None:
    one, other = equally_long([np.ones((1, 2)), [np.ones((2, 3))]])
    assert one.tolist() == [[1, 1, 0]]
    assert other[0].tolist() == [[1, 1, 1], [1, 1, 1]]
