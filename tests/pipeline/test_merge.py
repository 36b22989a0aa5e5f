"""Several shard files become one: the same rows, and a digest that sees every change but the order."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.merge import RowsDigest, merge, rows_digest
from unlabeled.pipeline.storage import Store

from tests import planted

CELL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=5,
)


def digest(*cells: Any) -> RowsDigest:
    found = RowsDigest()
    for cell in cells:
        found.add({"a": cell})
    return found


@given(st.lists(CELL, max_size=5), st.randoms(use_true_random=False))
def test_the_digest_knows_no_order(cells: list[Any], random: Any) -> None:
    shuffled = random.sample(cells, len(cells))
    assert digest(*cells) == digest(*shuffled)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", "1"),
        (1, "1"),
        (1, True),
        (None, "None"),
        ([b"ab"], [b"a", b"b"]),
        ([["a"], []], [[], ["a"]]),
        ({"x": None}, {"y": None}),
        ({}, []),
    ],
)
def test_the_digest_tells_cells_apart(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_a_row_that_stands_twice_counts_twice() -> None:
    assert digest("a") != digest("a", "a")
    assert digest("a", "a") != digest("b", "b")


@pytest.fixture
def nights(tmp_path: Path) -> Store:
    """A dataset of two versions, a shard each."""
    for number in (3, 5):
        sources = planted.photographs(tmp_path / "in", number)
        store = planted.build("image_rotation", sources, tmp_path / "out", side_px=32)
    return store


def shards_of(store: Store) -> list[dict[str, Any]]:
    return [row for row in load_tables(store, require_manifest(store), "shards").shards.to_pylist() if row["file"]]


def test_rows_and_schema_are_those_of_the_files(nights: Store, tmp_path: Path) -> None:
    shards = shards_of(nights)
    before = [pq.read_table(io.BytesIO(nights.get(shard["file"]))) for shard in shards]
    file = merge(nights, require_manifest(nights), shards, tmp_path / "merged.parquet")
    after = pq.read_table(tmp_path / "merged.parquet")
    assert len(shards) == 2
    assert after.equals(pa.concat_tables(before))
    assert after.schema.equals(before[0].schema, check_metadata=True)
    assert file is not None
    assert file.num_rows == after.num_rows == rows_digest((tmp_path / "merged.parquet").read_bytes()).num_rows


def test_shards_without_rows_make_no_file(nights: Store, tmp_path: Path) -> None:
    assert merge(nights, require_manifest(nights), [{"file": ""}, {"file": ""}], tmp_path / "none.parquet") is None
    assert not (tmp_path / "none.parquet").exists()


def test_a_damaged_file_is_named_and_nothing_is_left(nights: Store, tmp_path: Path) -> None:
    shards = shards_of(nights)
    nights.put(shards[1]["file"], b"other bytes")
    with pytest.raises(CorruptData, match=shards[1]["file"]):
        merge(nights, require_manifest(nights), shards, tmp_path / "merged.parquet")
    assert not (tmp_path / "merged.parquet").exists()
