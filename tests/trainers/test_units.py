"""Row groups of a version as columns."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers import shard_reader
from unlabeled.trainers.shard_reader import ShardReader
from unlabeled.trainers.units import Split, read_units

from tests.loading import turns


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"), 12)


@pytest.mark.parametrize("split", ["train", "val", "all"])
def test_a_unit_says_what_the_tables_say(store: Store, split: Split) -> None:
    manifest = require_manifest(store)
    tables = load_tables(store, manifest)
    shards = {row["shard_id"]: row for row in tables.shards.to_pylist() if split in ("all", row["split"])}
    names = ("file", "sha256", "num_bytes", "footer_sha256", "footer_num_bytes")
    units = read_units(store, manifest, split)
    assert [astuple(units[index]) for index in range(len(units))] == [
        (*(shards[row["shard_id"]][name] for name in names), row["row_group"], row["num_rows"])
        for row in tables.row_groups.to_pylist()
        if row["shard_id"] in shards
    ]


def test_the_footers_used_last_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    class Counting:
        def get_view(self, key: str, start: int, length: int) -> memoryview:
            fetched.append(key)
            return store.get_view(key, start, length)

    monkeypatch.setattr(shard_reader, "NUM_FOOTERS", 2)
    units = read_units(store, require_manifest(store), "all")
    first, second, third = ([units[i] for i in range(len(units)) if units[i].row_group == 0])[:3]
    reader = ShardReader(Counting(), ("label",))  # type: ignore[arg-type]
    for unit in (first, second, first, third):
        reader.read(unit)
    fetched.clear()
    for unit in (first, third, second):
        reader.read(unit)
    # Of what is kept the column alone is fetched.
    assert [fetched.count(unit.file) for unit in (first, second, third)] == [1, 2, 1]
