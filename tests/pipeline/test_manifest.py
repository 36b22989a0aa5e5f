from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import AlreadyExists, Conflict, CorruptData, NotFound
from unlabeled.pipeline.features import with_envelope
from unlabeled.pipeline.ledger import with_digest
from unlabeled.pipeline.manifest import (
    PARTS,
    REJECTS,
    ROW_GROUPS,
    SHARDS,
    TABLE_SCHEMAS,
    Counts,
    Manifest,
    TableFile,
    Tables,
    count,
    create_content,
    files_of,
    fingerprint,
    load_manifest,
    load_tables,
    manifest_key,
    parquet_bytes,
    publish,
    read_table,
    require_manifest,
    split_counts,
    table_key,
    versions,
    write_tables,
)
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.storage_local import LocalStore

from tests.small_datasets import Tiny, recipe

COUNTS = Counts(
    num_sources=3,
    num_used=2,
    num_filtered=0,
    num_rejected=1,
    num_examples=8,
    num_shards=1,
    num_bytes=99,
    num_skipped_markers=0,
    rejected_by_reason={"corrupt": 1},
    filtered_by_reason={},
)


def manifest(version: int = 1, writer: str = "ours", **changes: Any) -> Manifest:
    return Manifest(
        **{
            "version": version,
            "base_version": version - 1,
            "generation": version,
            "writer_token": writer,
            "fingerprint": "f" * 64,
            "task": "tiny",
            "modality": "image",
            "objective": "classification",
            "features": with_envelope(Tiny().features()).to_json(),
            "recipe": recipe(),
            "recipe_hash": recipe().hash,
            "assets": {"bins": "a" * 64},
            "batching": "any",
            "bundle_size": 1,
            "input_uri": "s3://bucket/ü",
            "plan": "v00000000-0",
            "splits": {"train": {"num_shards": 1, "num_examples": 8, "num_bytes": 99}},
            "counts": COUNTS,
            "tables": [TableFile(kind="parts", generation=1, sha256="b" * 64, num_bytes=5, num_rows=3)],
            "codec_versions": {"pillow": "12"},
            **changes,
        }
    )


def table(kind: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows of one kind, what is not given filled in."""
    schema = TABLE_SCHEMAS[kind]
    empty = {field.name: "" if pa.types.is_string(field.type) else 0 for field in schema}
    typed = [{**empty, "is_permanent": False, **row} for row in rows]
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in typed], schema)


def tables() -> Tables:
    return Tables(
        shards=table(
            "shards",
            [
                {"shard_id": "s1", "generation": 1, "split": "train", "file": "data/1", "sha256": "1", "num_rows": 5},
                {"shard_id": "s2", "generation": 1, "split": "val", "file": "data/2", "sha256": "2", "num_rows": 2},
                {"shard_id": "s3", "generation": 2, "split": "train", "file": "data/3", "sha256": "3", "num_rows": 1},
                {"shard_id": "s4", "generation": 2, "split": "train"},
            ],
        ),
        row_groups=table("row_groups", [{"generation": 1, "shard_id": "s1", "num_rows": 5}]),
        parts=table(
            "parts",
            [
                {"generation": 0, "source_key": "x", "status": "rejected", "reason": "unsupported_key"},
                {"generation": 1, "source_key": "a", "status": "used"},
                {"generation": 1, "source_key": "b", "status": "filtered", "reason": "too_small"},
                {"generation": 2, "source_key": "c", "status": "used"},
                {"generation": 2, "source_key": "d", "status": "rejected", "reason": "corrupt"},
            ],
        ),
        rejects=table(
            "rejects",
            [{"generation": 0, "source_key": "x"}, {"generation": 2, "source_key": "d", "reason": "corrupt"}],
        ),
    )


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_a_manifest_is_read_back(local: Store) -> None:
    publish(local, manifest())
    assert load_manifest(local) == manifest()
    assert manifest().typed_features() == with_envelope(Tiny().features())


def test_nothing_is_published_yet(local: Store) -> None:
    assert load_manifest(local) is None
    assert versions(local) == []
    with pytest.raises(NotFound, match="no dataset stands here"):
        require_manifest(local)


def test_the_newest_version_is_the_dataset(local: Store) -> None:
    for version in (1, 2, 10):
        publish(local, manifest(version))
    local.put("_manifests/notes.txt", b"")
    local.put("_manifests/v00000011.json.bak", b"")
    assert versions(local) == [1, 2, 10]
    assert require_manifest(local).version == 10
    assert require_manifest(local, 2).version == 2


def test_a_version_that_is_not_there_is_named(local: Store) -> None:
    publish(local, manifest())
    with pytest.raises(NotFound, match=r"there is no version 7; it has \[1\]"):
        load_manifest(local, 7)


def test_keys_of_versions_sort_as_their_numbers() -> None:
    assert manifest_key(12) == "_manifests/v00000012.json"
    assert manifest_key(9) < manifest_key(10) < manifest_key(10_000_000)


DATA = manifest().to_json()


@given(st.integers(0, 8 * len(DATA) - 1))
def test_a_flipped_bit_is_noticed_by_name(bit: int) -> None:
    damaged = bytearray(DATA)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptData, match=r"^_manifests/v00000001\.json: "):
        Manifest.from_json(bytes(damaged), manifest_key(1))


@pytest.mark.parametrize("num_bytes", [0, 1, len(DATA) // 2, len(DATA) - 1])
def test_a_truncated_manifest_is_noticed_by_name(num_bytes: int) -> None:
    with pytest.raises(CorruptData, match=r"^m: "):
        Manifest.from_json(DATA[:num_bytes], "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "m: format version 2, but this release reads 1"),
        ({"surplus": 1}, "m: not a manifest of this version: .*surplus"),
        ({"bundle_size": "many"}, "m: not a manifest of this version: .*bundle_size"),
    ],
)
def test_a_manifest_of_another_kind_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    body = {**json.loads(DATA), **change}
    del body["sha256_of_rest"]
    with pytest.raises(CorruptData, match=message):
        Manifest.from_json(with_digest(body), "m")


def test_of_two_writers_of_a_version_one_wins(local: Store) -> None:
    publish(local, manifest(writer="theirs", fingerprint="1" * 64))
    with pytest.raises(Conflict, match="another writer published version 1 first"):
        publish(local, manifest(writer="ours"))
    assert require_manifest(local).fingerprint == "1" * 64


def test_of_many_writers_at_once_one_wins(local: Store) -> None:
    def attempt(number: int) -> bool:
        try:
            publish(local, manifest(writer=str(number)))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


@dataclass(frozen=True, slots=True)
class LostReply(LocalStore):
    """A store whose reply to a create gets lost; the client's retry then finds the key taken."""

    def create(self, key: str, data: bytes) -> None:
        LocalStore.create(self, key, data)
        raise AlreadyExists(key)


def test_a_lost_reply_is_recognised_as_our_own_win(tmp_path: Path) -> None:
    publish(LostReply(str(tmp_path)), manifest())
    assert require_manifest(Store.open(str(tmp_path))) == manifest()


def test_tables_are_read_back_in_order(local: Store) -> None:
    whole = tables()
    stored = manifest(tables=write_tables(local, whole, None))
    loaded = load_tables(local, stored)
    for kind in TABLE_SCHEMAS:
        assert getattr(loaded, kind).equals(getattr(whole, kind)), kind
        assert getattr(loaded, kind).schema.equals(TABLE_SCHEMAS[kind])


def test_only_the_kinds_asked_for_are_read(local: Store) -> None:
    stored = manifest(tables=write_tables(local, tables(), None))
    loaded = load_tables(local, stored, "shards")
    assert (loaded.shards.num_rows, loaded.parts.num_rows) == (4, 0)


def test_an_unknown_kind_is_a_mistake(local: Store) -> None:
    with pytest.raises(KeyError, match=r"shard.*Did you mean 'shards'"):
        load_tables(local, manifest(), "shard")


def test_there_is_one_file_a_kind_and_generation(local: Store) -> None:
    files = write_tables(local, tables(), None)
    assert {(file.kind, file.generation, file.num_rows) for file in files} == {
        ("shards", 1, 2),
        ("shards", 2, 2),
        ("row_groups", 1, 1),
        ("parts", 0, 1),
        ("parts", 1, 2),
        ("parts", 2, 2),
        ("rejects", 0, 1),
        ("rejects", 2, 1),
    }
    for file in files:
        assert len(local.get(table_key(file.sha256))) == file.num_bytes


@dataclass(frozen=True, slots=True)
class Counting(LocalStore):
    created: tuple[list[str], ...] = ([],)

    def create(self, key: str, data: bytes) -> None:
        self.created[0].append(key)
        LocalStore.create(self, key, data)


def test_tables_of_old_generations_are_not_written_again(tmp_path: Path) -> None:
    store = Counting(str(tmp_path), ([],))
    base = manifest(tables=write_tables(store, tables(), None))
    store.created[0].clear()
    more = table("parts", [{"generation": 3, "source_key": "e", "status": "used"}])
    whole = tables()
    grown = Tables(whole.shards, whole.row_groups, pa.concat_tables([whole.parts, more]), whole.rejects)
    files = write_tables(store, grown, base)
    assert len(store.created[0]) == 1
    assert set(base.tables) < set(files)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_generation_keeps_its_file_where_it_is_as_it_was_and_only_there(tmp_path: Path, is_known: bool) -> None:
    store = Counting(str(tmp_path), ([],))
    whole = tables()
    base = manifest(tables=write_tables(store, whole, None))
    store.created[0].clear()
    keys = pa.array(["other", *whole.parts["source_key"].to_pylist()[1:]])
    column = whole.parts.schema.get_field_index("source_key")
    changed = Tables(whole.shards, whole.row_groups, whole.parts.set_column(column, "source_key", keys), whole.rejects)
    files = write_tables(store, changed, base, whole if is_known else None)
    assert len(store.created[0]) == 1
    assert [file.sha256 for file in files] == [file.sha256 for file in write_tables(store, changed, None)]


def test_the_same_table_gives_the_same_bytes_however_it_is_chunked() -> None:
    whole = tables().parts
    pieces = pa.concat_tables([whole.slice(number, 1) for number in range(whole.num_rows)])
    assert parquet_bytes(pieces.combine_chunks()) == parquet_bytes(whole)


def damage(store: Store, change: Callable[[bytes], bytes]) -> TableFile:
    (file,) = [file for file in write_tables(store, tables(), None) if (file.kind, file.generation) == ("parts", 1)]
    store.put(table_key(file.sha256), change(store.get(table_key(file.sha256))))
    return file


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: b"", lambda data: data[:99] + b"x" + data[100:]]
)
def test_a_damaged_table_is_named(local: Store, change: Callable[[bytes], bytes]) -> None:
    file = damage(local, change)
    with pytest.raises(CorruptData, match=f"_tables/{file.sha256}.parquet: .*the file is damaged"):
        read_table(local, file)


def test_a_table_of_another_kind_is_refused_by_name(local: Store) -> None:
    (file,) = [file for file in write_tables(local, tables(), None) if file.kind == "row_groups"]
    with pytest.raises(CorruptData, match="not a shards table of this version"):
        read_table(local, file.model_copy(update={"kind": "shards"}))


def test_content_that_is_there_already_is_left(local: Store) -> None:
    create_content(local, "_tables/x", b"1")
    create_content(local, "_tables/x", b"1")
    assert local.get("_tables/x") == b"1"


def test_counts_add_up() -> None:
    counts = count(tables(), 2)
    assert counts.num_sources == counts.num_used + counts.num_filtered + counts.num_rejected == 5
    assert (counts.num_used, counts.num_filtered, counts.num_rejected) == (2, 1, 2)
    assert counts.rejected_by_reason == {"corrupt": 1, "unsupported_key": 1}
    assert counts.filtered_by_reason == {"too_small": 1}
    assert (counts.num_examples, counts.num_shards, counts.num_skipped_markers) == (8, 3, 2)


def test_a_part_of_unknown_status_is_refused() -> None:
    parts = table("parts", [{"status": "lost"}])
    with pytest.raises(CorruptData, match=r"unknown status: \['lost'\]"):
        count(Tables(parts=parts), 0)


def test_counts_of_nothing() -> None:
    assert count(Tables(), 0).num_examples == 0
    assert split_counts(Tables().shards)["train"].num_bytes == 0


def test_splits_are_counted_and_list_their_files() -> None:
    found = split_counts(tables().shards)
    assert (found["train"].num_shards, found["train"].num_examples) == (2, 6)
    assert (found["val"].num_shards, found["val"].num_examples) == (1, 2)
    assert files_of(tables(), "train") == ["data/1", "data/3"]
    assert files_of(tables()) == ["data/1", "data/2", "data/3"]


FEATURES = with_envelope(Tiny().features())
SHARD_ROWS = [{"split": "train", "sha256": "1"}, {"split": "val", "sha256": "2"}]


def test_a_fingerprint_is_over_content_alone() -> None:
    named = [{**row, "shard_id": "x", "generation": 7, "file": "f", "num_bytes": 3} for row in SHARD_ROWS]
    one, other = (table("shards", rows) for rows in (SHARD_ROWS, named))
    assert fingerprint(recipe(), FEATURES, one) == fingerprint(recipe(), FEATURES, other)
    empty = table("shards", [*SHARD_ROWS, {"split": "train", "sha256": ""}])
    assert fingerprint(recipe(), FEATURES, empty) == fingerprint(recipe(), FEATURES, one)


@pytest.mark.parametrize(
    ("made", "features", "rows"),
    [
        (recipe(seed=1), FEATURES, SHARD_ROWS),
        (recipe(), Tiny().features(), SHARD_ROWS),
        (recipe(), FEATURES, SHARD_ROWS[::-1]),
        (recipe(), FEATURES, SHARD_ROWS[:1]),
        (recipe(), FEATURES, [SHARD_ROWS[0], {"split": "train", "sha256": "2"}]),
        (recipe(), FEATURES, [SHARD_ROWS[0], {"split": "val", "sha256": "3"}]),
    ],
)
def test_other_content_has_another_fingerprint(made: Any, features: Any, rows: Any) -> None:
    expected = fingerprint(recipe(), FEATURES, table("shards", SHARD_ROWS))
    assert fingerprint(made, features, table("shards", rows)) != expected


def test_schemas_begin_with_what_they_are_sorted_by() -> None:
    for schema in (SHARDS, ROW_GROUPS, PARTS, REJECTS):
        assert {"generation", "ordinal", "shard_id"} <= set(schema.names)
