from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from unlabeled.pipeline.forgotten import FOLDER, bury, tombstones, without_forgotten
from unlabeled.pipeline.inventory import REJECTED_SCHEMA, Inventory
from unlabeled.pipeline.storage import Store

from tests.small_datasets import inventory_rows


def test_what_is_buried_is_listed_no_more(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    rejected = pa.Table.from_pylist([{"source_key": "bad"}, {"source_key": "other"}], REJECTED_SCHEMA)
    listed = Inventory("root", inventory_rows(["a", "b", "c.tar#1", "c.tar#2", "d"]), rejected, 0)
    assert without_forgotten(listed, store) is listed
    bury(store, ["a", "c.tar", "bad"])
    bury(store, ["a"])
    kept = without_forgotten(listed, store)
    assert kept.sources["source_key"].to_pylist() == ["b", "d"]
    assert kept.rejected["source_key"].to_pylist() == ["other"]


def test_a_tombstone_does_not_name_the_source(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    bury(store, ["patient 7.jpg"])
    assert len(tombstones(store)) == 1
    assert not any("patient" in info.key for page in store.list(FOLDER) for info in page)
