from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.listing_file import read_listing
from unlabeled.pipeline.storage import Store

INPUTS = Store.open("s3://bucket/root")


def rows(path: Path) -> list[tuple[str, int, str, bool]]:
    pages = read_listing(str(path), INPUTS)
    return [(info.key, info.num_bytes, info.etag, info.is_supported) for page in pages for info in page]


def test_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "list 1#.csv"
    path.write_text('size,etag,note,key\n5,"""abc""",x,"a,b\nc.jpg"\n7,,y,007\n0,,z,folder/\n1,,,a//b\n')
    assert rows(path) == [
        ("a,b\nc.jpg", 5, '"abc"', False),
        ("007", 7, "", True),
        ("folder/", 0, "", False),
        ("a//b", 1, "", False),
    ]


def test_a_parquet_file_without_etags(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"key": ["b", "a"], "size": pa.array([1, 2], pa.uint32())}), path)
    assert rows(path) == [("b", 1, "", True), ("a", 2, "", True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Key,size\na,1\n", "no column 'key'; it has: Key, size. Did you mean 'Key'"),
        ("key,length\na,1\n", "no column 'size'"),
        ("key,size\na,big\n", "big"),
        ("key,size\na,-1\n", "negative size"),
        ("key,size\na,\n", "without key or size"),
        ("key,size\nk1,1\nk2,2\nk1,3\n", "names 'k1' more than once"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        rows(path)


def test_a_listing_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.csv"):
        rows(tmp_path / "nope.csv")
