from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import NotFound
from unlabeled.pipeline.lookup import by_role, find_example
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.storage import Store

from tests import planted


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("lookup")
    return planted.build("image_rotation", planted.photographs(folder / "in"), folder / "out", side_px=32)


def rows_by_file(dataset: Store) -> dict[str, list[dict[str, Any]]]:
    names = files_of(load_tables(dataset, require_manifest(dataset), "shards"))
    return {name: pq.read_table(io.BytesIO(dataset.get(name))).to_pylist() for name in names}


def test_every_example_is_found_where_it_stands(dataset: Store) -> None:
    manifest = require_manifest(dataset)
    for key, rows in rows_by_file(dataset).items():
        for number, row in enumerate(rows):
            found = find_example(dataset, manifest, row["example_id"])
            assert (found.file, found.row) == (key, number)
            assert (found.values["label"], found.part["source_key"]) == (row["label"], row["source_key"])
            assert found.values["image"] == {"num_bytes": len(row["image"]["bytes"])}


def test_columns_are_told_by_what_they_are_for(dataset: Store) -> None:
    manifest = require_manifest(dataset)
    (rows, *_) = rows_by_file(dataset).values()
    told = by_role(find_example(dataset, manifest, rows[0]["example_id"]), manifest.typed_features())
    assert set(told["input"]) == {"image"}
    assert "label" in told["label"]
    assert {"source_key", "split", "draw"} <= set(told["lineage"])


def test_an_unknown_example_is_told(dataset: Store) -> None:
    with pytest.raises(NotFound, match="no example 'nothing'"):
        find_example(dataset, require_manifest(dataset), "nothing")
