from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from unlabeled.pipeline import plan_store
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.ledger import with_digest
from unlabeled.pipeline.manifest import PARTS, REJECTS
from unlabeled.pipeline.plan import Shards, pack, with_ids
from unlabeled.pipeline.plan_store import (
    Draft,
    abandon_plan,
    drop_parts,
    load_plan,
    read_parts,
    read_plan_table,
    save_plan,
    unpublished_plan,
)
from unlabeled.pipeline.storage import Store

from tests.small_datasets import Tiny, inventory_rows, recipe, removed_parts


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def shards(num_sources: int = 40, num_bytes: int = 3000) -> Shards:
    made = recipe(shard=ShardSettings(target_num_bytes=2**16, spread_num_shards=8, spread_min_num_bytes=4096))
    sources = inventory_rows([str(number) for number in range(num_sources)], num_bytes)
    return with_ids(pack(sources, Tiny(), made, str, generation=1), made, {})


def draft(**changes: Any) -> Draft:
    return Draft(
        **{
            "base_version": 3,
            "generation": 4,
            "recipe": recipe(),
            "assets": {"bins": "a" * 64},
            "input_uri": "s3://bucket/ü #1",
            "num_skipped_markers": 2,
            "num_sources": 40,
            "is_rebuild": False,
            "shards": shards(),
            "settled_parts": PARTS.empty_table(),
            "settled_rejects": REJECTS.empty_table(),
            "dropped_shards": ["x"],
            "removed_parts": removed_parts("b", ("a", 7)),
            **changes,
        }
    )


def test_a_plan_is_read_back(local: Store) -> None:
    saved = save_plan(local, draft())
    plan = load_plan(local, saved.name)
    assert plan == saved
    assert plan.name.startswith("v00000003-")
    assert plan.shards.equals(shards().shards)
    assert plan.parts().equals(shards().parts)
    assert plan.settled_parts().schema.equals(PARTS)
    assert plan.settled_rejects().schema.equals(REJECTS)
    assert plan.removed_parts().equals(removed_parts("b", ("a", 7)))
    header = plan.header
    assert (header.base_version, header.generation, header.num_sources, header.num_skipped_markers) == (3, 4, 40, 2)
    assert (header.recipe, header.assets, header.input_uri) == (recipe(), {"bins": "a" * 64}, "s3://bucket/ü #1")
    assert (header.dropped_shards, header.is_rebuild) == (["x"], False)


def test_a_plan_without_shards(local: Store) -> None:
    plan = load_plan(local, save_plan(local, draft(shards=Shards.concat([]))).name)
    assert (plan.shards.num_rows, plan.parts().num_rows, plan.header.chunks) == (0, 0, [])


@pytest.mark.parametrize("chunk_num_shards", [1, 3, 256])
def test_the_parts_of_one_shard_are_read_alone(
    local: Store, monkeypatch: pytest.MonkeyPatch, chunk_num_shards: int
) -> None:
    monkeypatch.setattr(plan_store, "CHUNK_NUM_SHARDS", chunk_num_shards)
    whole = shards()
    plan = save_plan(local, draft())
    assert len(plan.header.chunks) == -(-len(whole) // chunk_num_shards)
    for index in range(len(whole)):
        assert plan.parts_of(index).equals(whole.parts_of(index))
        assert read_parts(local, plan.chunk_of(index), index).equals(whole.parts_of(index))


def test_the_same_draft_is_the_same_plan(local: Store) -> None:
    assert save_plan(local, draft()).name == save_plan(local, draft()).name


@pytest.mark.parametrize(
    "change",
    [
        {"base_version": 4},
        {"generation": 5},
        {"assets": {}},
        {"num_sources": 41},
        {"is_rebuild": True},
        {"dropped_shards": []},
        {"removed_parts": removed_parts("b", ("a", 8))},
        {"recipe": recipe(seed=1)},
        {"shards": shards(39)},
    ],
)
def test_another_draft_is_another_plan(local: Store, change: dict[str, Any]) -> None:
    assert save_plan(local, draft()).name != save_plan(local, draft(**change)).name


def test_no_plan_is_left(local: Store) -> None:
    assert unpublished_plan(local, 0) is None


def test_a_plan_on_the_newest_version_is_left(local: Store) -> None:
    plan = save_plan(local, draft())
    assert unpublished_plan(local, 3) == plan
    assert unpublished_plan(local, 4) is None
    assert unpublished_plan(local, 0) is None


def test_the_oldest_plan_is_finished_first(local: Store, tmp_path: Path) -> None:
    plans = [save_plan(local, draft(num_sources=number)) for number in range(4)]
    for seconds, plan in enumerate(reversed(plans)):
        os.utime(tmp_path / "_plans" / f"{plan.name}.json", (1_700_000_000 + seconds, 1_700_000_000 + seconds))
    assert unpublished_plan(local, 3) == plans[-1]


def test_an_abandoned_plan_is_not_finished(local: Store) -> None:
    plans = {save_plan(local, draft(num_sources=number)).name for number in range(2)}
    while plan := unpublished_plan(local, 3):
        plans.remove(plan.name)
        abandon_plan(local, plan.name)
        abandon_plan(local, plan.name)
    assert not plans


def damage(store: Store, key: str) -> None:
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))


def test_a_damaged_header_is_named(local: Store) -> None:
    plan = save_plan(local, draft())
    damage(local, f"_plans/{plan.name}.json")
    with pytest.raises(CorruptData, match=f"_plans/{plan.name}.json"):
        load_plan(local, plan.name)


def test_a_damaged_table_is_named(local: Store) -> None:
    plan = save_plan(local, draft())
    (chunk,) = plan.header.chunks
    for sha256 in (chunk.sha256, plan.header.shards_sha256):
        damage(local, f"_plans/{sha256}.parquet")
    with pytest.raises(CorruptData, match=f"_plans/{chunk.sha256}.parquet: .*the file is damaged"):
        plan.parts_of(0)
    with pytest.raises(CorruptData, match=f"_plans/{plan.header.shards_sha256}.parquet"):
        load_plan(local, plan.name)


def test_a_header_of_other_fields_is_refused_by_name(local: Store) -> None:
    local.put("_plans/v00000003-x.json", with_digest({"format_version": 1, "base_version": 3}))
    with pytest.raises(CorruptData, match=r"_plans/v00000003-x\.json: not a plan of this version"):
        load_plan(local, "v00000003-x")


def test_a_missing_table_is_named(local: Store) -> None:
    with pytest.raises(NotFound, match=r"_plans/00\.parquet"):
        read_plan_table(local, "00")


def test_parts_of_dropped_shards_and_removed_parts_go() -> None:
    rows = [("s1", "a", 0), ("s1", "b", 0), ("s2", "c", 0), ("s2", "d", 0), ("s3", "d", 9), ("s3", "d", 90)]
    parts = pa.table(dict(zip(("shard_id", "source_key", "start"), map(list, zip(*rows, strict=True)), strict=True)))
    kept = drop_parts(parts, ["s1"], removed_parts("zzz", "d", ("d", 90)))
    assert [*zip(kept["source_key"].to_pylist(), kept["start"].to_pylist(), strict=True)] == [("c", 0), ("d", 9)]
    assert drop_parts(parts, [], removed_parts()).equals(parts)


def test_a_draft_need_not_change_to_be_saved_again(local: Store) -> None:
    first = draft()
    assert save_plan(local, replace(first)).header == save_plan(local, first).header
