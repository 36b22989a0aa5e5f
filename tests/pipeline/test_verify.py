"""A version that is what its manifest says passes; each thing that is not is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.manifest import load_tables, require_manifest, table_key
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import Findings, check_counts, check_splits, schema_fault, verify

from tests import planted


@pytest.fixture
def dataset(tmp_path: Path) -> Store:
    return planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=32)


def checks(found: Findings) -> set[str]:
    return {problem.check for problem in found.problems}


def shard_key(store: Store) -> str:
    return next(name for name in load_tables(store, require_manifest(store)).shards["file"].to_pylist() if name)


def test_a_sound_dataset_has_no_problem(dataset: Store) -> None:
    found = verify(dataset)
    assert (found.problems, found.num_rows) == ([], 12)


@pytest.mark.parametrize("where", [0.01, 0.3, 0.6, 0.99])
def test_a_flipped_bit_in_a_shard_is_found(dataset: Store, where: float) -> None:
    key = shard_key(dataset)
    planted.flip_bit(dataset, key, int(where * dataset.head(key).num_bytes))
    found = verify(dataset)
    assert {problem.file for problem in found.problems} == {key}


def test_a_flipped_bit_in_a_page_is_found_by_its_checksum_alone(dataset: Store) -> None:
    key = shard_key(dataset)
    planted.flip_bit(dataset, key, dataset.head(key).num_bytes // 3)
    assert checks(verify(dataset, digests=False)) == {"page"}


def test_a_flipped_bit_in_the_footer_is_found_before_it_is_parsed(dataset: Store) -> None:
    key = shard_key(dataset)
    planted.flip_bit(dataset, key, dataset.head(key).num_bytes - 40)
    assert checks(verify(dataset)) == {"digest", "footer"}


def test_a_shard_that_is_gone_or_cut_is_named(dataset: Store) -> None:
    key = shard_key(dataset)
    data = dataset.get(key)
    dataset.put(key, data[:-1])
    assert [(one.check, one.file) for one in verify(dataset).problems] == [("size", key)]
    dataset.delete([key])
    assert [(one.check, one.file) for one in verify(dataset).problems] == [("file", key)]


def test_a_damaged_table_or_manifest_is_refused_by_name(dataset: Store) -> None:
    manifest = require_manifest(dataset)
    key = table_key(manifest.tables[0].sha256)
    planted.flip_bit(dataset, key, 100)
    with pytest.raises(CorruptData, match=key):
        verify(dataset)
    planted.flip_bit(dataset, "_manifests/v00000001.json", 200)
    with pytest.raises(CorruptData, match="v00000001"):
        verify(dataset)


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("example_id", "0" * 32, "example_id"),
        ("draw", 3, "example_id"),
        ("source_key", "other.jpg", "lineage"),
        ("group_id", "other", "lineage"),
        ("source_sha256", "0" * 64, "lineage"),
        ("split", "val", "lineage"),
        ("recipe_hash", "0", "lineage"),
        ("label", 9, "label"),
        ("label_name", "sideways", "label"),
    ],
)
def test_a_forged_row_is_named(dataset: Store, tmp_path: Path, column: str, value: object, check: str) -> None:
    key = planted.forge(dataset, lambda rows: rows[5].update({column: value}), tmp_path)
    problems = verify(dataset).problems
    assert (check, key, 5) in {(one.check, one.file, one.row) for one in problems}


def test_a_row_too_few_or_too_many_does_not_add_up(dataset: Store, tmp_path: Path) -> None:
    planted.forge(dataset, lambda rows: rows.pop(), tmp_path)
    assert "conservation" in checks(verify(dataset))
    planted.forge(dataset, lambda rows: rows.append(dict(rows[0])), tmp_path)
    assert {"conservation", "example_id"} <= checks(verify(dataset))


def test_one_label_for_all_is_out_of_balance(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 20), tmp_path / "out", side_px=32)

    def all_upright(rows: list[dict[str, object]]) -> None:
        for row in rows:
            row.update(label=0, label_name="rot0")

    planted.forge(store, all_upright, tmp_path)
    assert "balance" in checks(verify(store))


def test_manifest_counts_must_be_those_of_the_tables(dataset: Store) -> None:
    counts = require_manifest(dataset).counts.model_dump()
    planted.rewrite_manifest(dataset, 1, {"counts": {**counts, "num_used": 2, "num_filtered": 1}})
    assert "conservation" in checks(verify(dataset))


def test_a_group_in_two_splits_and_a_part_twice_are_named(dataset: Store) -> None:
    parts = load_tables(dataset, require_manifest(dataset)).parts
    rows = parts.to_pylist()
    rows.append({**rows[0], "split": "val"})
    found = Findings()
    check_splits(pa.Table.from_pylist(rows, parts.schema), found)
    assert checks(found) == {"splits", "conservation"}


def test_a_lost_part_is_noticed(dataset: Store) -> None:
    manifest = require_manifest(dataset)
    tables = load_tables(dataset, manifest)
    found = Findings()
    check_counts(manifest, replace(tables, parts=tables.parts.slice(1)), found)
    assert checks(found) == {"conservation"}


@pytest.mark.parametrize(
    "kind",
    [
        pa.dictionary(pa.int32(), pa.string()),
        pa.list_(pa.large_binary()),
        pa.map_(pa.string(), pa.int64()),
        pa.timestamp("us"),
        pa.json_(),
        pa.list_(pa.uuid()),
    ],
)
def test_types_that_no_shard_holds_are_refused_by_name(dataset: Store, kind: pa.DataType) -> None:
    features = require_manifest(dataset).typed_features()
    schema = features.arrow_schema()
    fault = schema_fault(schema.set(0, pa.field("image", kind)), features)
    assert "no shard may hold" in fault


def test_an_extension_type_by_metadata_is_refused(dataset: Store) -> None:
    features = require_manifest(dataset).typed_features()
    schema = features.arrow_schema()
    disguised = schema.field(0).with_metadata({"ARROW:extension:name": "ray.data.arrow_tensor"})
    assert "ray.data.arrow_tensor" in schema_fault(schema.set(0, disguised), features)
    assert schema_fault(schema, features) == ""


def test_another_order_of_columns_is_another_schema(dataset: Store) -> None:
    features = require_manifest(dataset).typed_features()
    schema = features.arrow_schema()
    assert schema_fault(pa.schema([*schema][::-1]), features)
