"""Many small shards become few: not a row changes, and the dataset goes on as it did."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.compact import choose, compact
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import ConfigError, Conflict, CorruptData
from unlabeled.pipeline.forget import shards_with
from unlabeled.pipeline.gc import find_garbage
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.lookup import find_example
from unlabeled.pipeline.manifest import SHARDS, files_of, load_tables, publish, require_manifest
from unlabeled.pipeline.plan_store import load_plan
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import verify
from unlabeled.pipeline.work import Tools

from tests.small_datasets import Neighbours, fill, jpeg, make, target

SHARD = ShardSettings(target_num_bytes=2**17, spread_num_shards=2, spread_min_num_bytes=2**12, row_group_max_rows=9)


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


@pytest.fixture
def tools(fence: Fence, tmp_path: Path) -> Tools:
    return Tools(fence, tmp_path, ThreadPoolExecutor(1))


@pytest.fixture
def inputs(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "in"))


def nights(of: Target, inputs: Store, tools: Tools, num_nights: int = 4) -> None:
    """Make a dataset of five pictures, then one more version a night: four pictures, and one that is none."""
    for night in range(num_nights):
        files = {f"{night}/{number}.jpg": jpeg(10 * night + number) for number in range(5 if night == 0 else 4)}
        fill(Path(inputs.uri), {**files, f"{night}/text.jpg": b"no picture", f"{night}/dot.jpg": jpeg(1, 2, 2)})
        make(of, inputs, tools)


@pytest.fixture
def made(tmp_path: Path, inputs: Store, tools: Tools) -> Target:
    of = target(tmp_path / "out", shard=SHARD)
    nights(of, inputs, tools)
    return of


def rows(of: Target) -> list[str]:
    """Return every row of the newest version, sorted."""
    tables = load_tables(of.store, require_manifest(of.store), "shards")
    read = [pq.read_table(io.BytesIO(of.store.get(name))) for name in files_of(tables)]
    return sorted(repr(row) for table in read for row in table.to_pylist())


def accounts(of: Target) -> list[Any]:
    """Return what the newest version says of each source, but for where it stands."""
    tables = load_tables(of.store, require_manifest(of.store), "parts", "rejects")
    places = ["generation", "ordinal", "shard_id"]
    return [sorted(map(repr, one.drop_columns(places).to_pylist())) for one in (tables.parts, tables.rejects)]


def shards_of(of: Target) -> dict[str, str]:
    shards = load_tables(of.store, require_manifest(of.store), "shards").shards
    return dict(zip(shards["shard_id"].to_pylist(), shards["file"].to_pylist(), strict=True))


def test_one_shard_a_split_is_left_and_no_row_and_no_account_changes(made: Target) -> None:
    before = rows(made), accounts(made), require_manifest(made.store)
    done = compact(made.store)
    assert (rows(made), accounts(made)) == before[:2]
    assert done.manifest.version == before[2].version + 1 == require_manifest(made.store).version
    assert len(shards_of(made)) == len([split for split in done.manifest.splits.values() if split.num_shards])
    assert done.num_merged > done.num_made > 0
    assert verify(made.store).problems == []


def test_row_groups_are_cut_as_if_made_at_once(made: Target) -> None:
    compact(made.store)
    tables = load_tables(made.store, require_manifest(made.store), "shards", "row_groups")
    for shard in tables.shards.to_pylist():
        counts = tables.row_groups.filter(pa.compute.equal(tables.row_groups["shard_id"], shard["shard_id"]))[
            "num_rows"
        ]
        assert set(counts.to_pylist()[:-1]) <= {9}


def test_a_second_compaction_does_nothing(made: Target) -> None:
    version = compact(made.store).manifest.version
    again = compact(made.store)
    assert (again.manifest.version, again.num_merged, again.num_made) == (version, 0, 0)


def test_an_unchanged_run_afterwards_publishes_nothing(made: Target, inputs: Store, tools: Tools) -> None:
    version = compact(made.store).manifest.version
    assert make(made, inputs, tools).manifest.version == version


def test_what_comes_later_makes_new_shards_only(made: Target, inputs: Store, tools: Tools) -> None:
    compact(made.store)
    before = shards_of(made)
    fill(Path(inputs.uri), {"new/1.jpg": jpeg(77)})
    make(made, inputs, tools)
    assert before.items() < shards_of(made).items()
    assert verify(made.store).problems == []


@pytest.mark.parametrize("change", ["changed", "deleted"])
def test_a_changed_or_deleted_source_replans_only_its_shard(
    made: Target, inputs: Store, tools: Tools, change: str
) -> None:
    compact(made.store)
    before = shards_of(made)
    parts = load_tables(made.store, require_manifest(made.store), "parts").parts.to_pylist()
    (holder,) = [part["shard_id"] for part in parts if part["source_key"] == "1/2.jpg"]
    if change == "changed":
        inputs.put("1/2.jpg", jpeg(99))
    else:
        inputs.delete(["1/2.jpg"])
    make(made, inputs, tools)
    assert before.keys() - shards_of(made).keys() == {holder}
    assert verify(made.store).problems == []


def test_an_example_is_found_and_tells_its_source(made: Target) -> None:
    row = pq.read_table(io.BytesIO(made.store.get(next(iter(filter(None, shards_of(made).values())))))).to_pylist()[0]
    manifest = compact(made.store).manifest
    found = find_example(made.store, manifest, row["example_id"])
    assert found.part["source_key"] == row["source_key"]
    assert found.file in shards_of(made).values()


def test_garbage_collection_spares_what_it_made_and_the_old_versions_files(made: Target) -> None:
    compact(made.store)
    named = {info.key for info in find_garbage(made.store, timedelta(0)).objects}
    assert not {key for key in named if key.startswith(("data/", "_receipts/", "_plans/", "_tables/"))}


def test_of_two_that_compact_the_second_loses_and_harms_nothing(made: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(store: Store, manifest: Any) -> None:
        monkeypatch.undo()
        compact(store)
        publish(store, manifest)

    monkeypatch.setattr("unlabeled.pipeline.compact.publish", overtaken)
    before = rows(made)
    with pytest.raises(Conflict):
        compact(made.store)
    assert rows(made) == before
    assert verify(made.store).problems == []


def test_a_holder_that_was_taken_over_publishes_nothing(made: Target) -> None:
    with acquire(made.store) as old:
        version = require_manifest(made.store).version
    with acquire(made.store), pytest.raises(Conflict):
        compact(made.store, epoch=old.epoch)
    assert require_manifest(made.store).version == version


def test_killed_before_its_version_any_run_can_finish_it(
    made: Target, inputs: Store, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    before = rows(made)
    with monkeypatch.context() as patch:
        patch.setattr("unlabeled.pipeline.compact.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            compact(made.store)
    finished = make(made, inputs, tools)
    assert finished.tally.num_shards_made == 0
    assert len(finished.tally.published) == 1
    assert rows(made) == before
    assert verify(made.store).problems == []


def test_a_plan_that_a_run_has_left_is_finished_first(made: Target, inputs: Store, tools: Tools) -> None:
    fill(Path(inputs.uri), {"new/1.jpg": jpeg(77)})

    class Stopped(Exception):
        pass

    def hashed(_: Any) -> dict[str, str]:
        return {}

    from unlabeled.pipeline.materialize import materialize

    from tests.small_datasets import Quiet, request

    def stop(*_: Any) -> Iterator[Any]:
        raise Stopped

    with pytest.raises(Stopped):
        materialize(request([made], inputs, hash_sources=hashed), stop, Quiet())
    with pytest.raises(ConfigError, match="has planned work"):
        compact(made.store)


def test_a_damaged_shard_is_named_and_nothing_is_published(made: Target) -> None:
    name = next(name for name in shards_of(made).values() if name)
    made.store.put(name, made.store.get(name)[:-9] + b"123456789")
    version = require_manifest(made.store).version
    with pytest.raises(CorruptData, match=name):
        compact(made.store)
    assert require_manifest(made.store).version == version


def test_what_was_read_for_partners_is_still_known(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out", Neighbours(), shard=SHARD)
    fill(Path(inputs.uri), {f"0/{number}.jpg": jpeg(number) for number in range(6)})
    make(of, inputs, tools)
    for night in (1, 2):
        fill(Path(inputs.uri), {f"{night}/0.jpg": jpeg(10 * night)})
        make(of, inputs, tools)
    of_night = {shard for key in ("1/0.jpg", "2/0.jpg") for shard in shards_with(of.store, {key})}
    assert of_night
    before = rows(of)
    manifest = compact(of.store).manifest
    assert rows(of) == before
    parts = load_plan(of.store, manifest.plan).parts()
    own = parts.filter(pa.compute.invert(parts["is_context"]))["source_key"].to_pylist()
    assert max(Counter(parts["source_key"].to_pylist()).values()) <= 2
    assert len(own) == len(set(own))
    assert verify(of.store).problems == []


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["train", "val"]), st.integers(0, 1)), max_size=40))
def test_choice_keeps_order_mixes_no_splits_and_fills_up_to_the_target(
    made_manifest: Any, sizes: list[tuple[int, str, int]]
) -> None:
    blank = dict.fromkeys(SHARDS.names)
    table = pa.Table.from_pylist(
        [
            {
                **blank,
                "shard_id": f"{at:03d}",
                "sha256": "",
                "split": split,
                "attempt": attempt,
                "num_bytes": 2**9 * size,
            }
            for at, (size, split, attempt) in enumerate(sizes)
        ],
        SHARDS,
    )
    chosen = choose(made_manifest, table)
    for one in chosen:
        assert len(one.shards) > 1
        assert len({(shard["split"], shard["attempt"]) for shard in one.shards}) == 1
        assert sum(shard["num_bytes"] for shard in one.shards) <= SHARD.target_num_bytes
        assert all(shard["num_bytes"] < SHARD.target_num_bytes / 4 for shard in one.shards)
        names = [shard["shard_id"] for shard in one.shards]
        assert names == sorted(names)
    used = [shard["shard_id"] for one in chosen for shard in one.shards]
    assert len(used) == len(set(used))


@pytest.fixture(scope="module")
def made_manifest(tmp_path_factory: pytest.TempPathFactory, fence: Fence) -> Any:
    folder = tmp_path_factory.mktemp("chosen")
    of = target(folder / "out", shard=SHARD)
    tools = Tools(fence, folder, ThreadPoolExecutor(1))
    return make(of, Store.open(str(fill(folder / "in", {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}))), tools).manifest
