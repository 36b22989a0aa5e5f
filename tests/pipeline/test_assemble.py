from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from unlabeled.pipeline import assemble as module
from unlabeled.pipeline.assemble import assemble, check_counts, check_files, make_manifest
from unlabeled.pipeline.config import RejectLimits
from unlabeled.pipeline.errors import CorruptData, TooManyRejects
from unlabeled.pipeline.ledger import Outcome, Receipt, RowGroup
from unlabeled.pipeline.manifest import PARTS, REJECTS, TABLE_SCHEMAS, Tables, load_tables
from unlabeled.pipeline.plan import SHARDS_SCHEMA, Shards, pack, with_context, with_ids
from unlabeled.pipeline.plan_store import Draft, Plan, save_plan
from unlabeled.pipeline.planning import Base
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store

from tests.small_datasets import SMALL_SHARDS, Tiny, inventory_rows, removed_parts, target

KEYS = [str(number) for number in range(12)]


@pytest.fixture
def of(tmp_path: Path) -> Target:
    return target(tmp_path)


def shards_of(of: Target, keys: list[str], generation: int = 1) -> Shards:
    shards = pack(inventory_rows(keys, 3000), Tiny(), of.recipe, str, generation=generation)
    ordinals = pa.array(range(len(shards)), pa.int32())
    numbered = shards.shards.set_column(SHARDS_SCHEMA.get_field_index("ordinal"), "ordinal", ordinals)
    return with_ids(Shards.of(numbered, shards.parts), of.recipe, {})


def plan_of(of: Target, shards: Shards, num_sources: int | None = None, **changes: object) -> Plan:
    draft = Draft(
        base_version=0,
        generation=1,
        recipe=of.recipe,
        assets={},
        input_uri="/in",
        num_skipped_markers=3,
        num_sources=shards.parts.num_rows if num_sources is None else num_sources,
        is_rebuild=False,
        shards=shards,
        settled_parts=PARTS.empty_table(),
        settled_rejects=REJECTS.empty_table(),
        dropped_shards=(),
        removed_parts=removed_parts(),
    )
    return save_plan(of.store, replace(draft, **changes))  # type: ignore[arg-type]


def outcome(key: str, rejected: tuple[str, ...] = ()) -> Outcome:
    if key in rejected:
        return Outcome(key, "rejected", "corrupt", "decode", "bad", offset_bytes=5, sha256="b" * 64, etag="e")
    return Outcome(key, "used", sha256="a" * 64, num_examples=2)


def receipts_of(plan: Plan, rejected: tuple[str, ...] = ()) -> list[Receipt]:
    """Return receipts as workers would write them; outcomes stand in an order of their own."""
    receipts = []
    for index, shard in enumerate(plan.shards.to_pylist()):
        parts = plan.parts_of(index)
        keys = parts.filter(pa.compute.invert(parts["is_context"]))["source_key"].to_pylist()
        receipts.append(
            Receipt(
                shard_id=shard["shard_id"],
                split=shard["split"],
                file=f"data/{shard['split']}/{shard['shard_id'][:8]}.parquet",
                sha256=f"{index:064d}",
                num_bytes=100 + index,
                num_rows=2 * len(keys),
                footer_sha256="f" * 64,
                footer_num_bytes=7,
                row_groups=(RowGroup(1, 4, 50), RowGroup(2, 54, 40)),
                outcomes=tuple(outcome(key, rejected) for key in reversed(keys)),
                versions={},
            )
        )
    return receipts


def put_files(store: Store, receipts: list[Receipt]) -> None:
    for receipt in receipts:
        store.put(receipt.file, bytes(receipt.num_bytes))


def test_a_plan_and_its_receipts_become_tables(of: Target) -> None:
    plan = plan_of(of, shards_of(of, KEYS))
    receipts = receipts_of(plan, rejected=("3",))
    tables = assemble(plan, Tables(), receipts)
    for kind, schema in TABLE_SCHEMAS.items():
        assert getattr(tables, kind).schema.equals(schema), kind
    assert tables.shards["file"].to_pylist() == [receipt.file for receipt in receipts]
    assert tables.shards["num_rows"].to_pylist() == [receipt.num_rows for receipt in receipts]
    assert tables.row_groups.num_rows == 2 * len(receipts)
    # Parts in plan order, whatever the order in the receipts.
    assert tables.parts["source_key"].to_pylist() == plan.parts()["source_key"].to_pylist()
    by_key = {row["source_key"]: row for row in tables.parts.to_pylist()}
    assert {key for key, row in by_key.items() if row["status"] == "rejected"} == {"3"}
    assert (by_key["4"]["sha256"], by_key["4"]["num_examples"], by_key["4"]["num_bytes"]) == ("a" * 64, 2, 3000)
    (reject,) = tables.rejects.to_pylist()
    assert (reject["source_key"], reject["stage"], reject["reason"], reject["message"]) == (
        "3",
        "decode",
        "corrupt",
        "bad",
    )
    assert (reject["error_offset_bytes"], reject["etag"], reject["attempt"]) == (5, "e", 0)


def test_context_is_no_part_of_the_dataset(of: Target) -> None:
    plain = shards_of(of, KEYS)
    splits = plain.shards["split"].take(plain.parts["shard_index"])
    lenders = plain.parts.drop_columns(["shard_index"]).append_column("split", splits)
    shards = with_context(plain, 5, lenders)
    assert shards.parts.num_rows > len(KEYS)
    plan = plan_of(of, with_ids(shards, of.recipe, {}), len(KEYS))
    tables = assemble(plan, Tables(), receipts_of(plan))
    assert sorted(tables.parts["source_key"].to_pylist()) == sorted(KEYS)


def test_a_later_plan_keeps_drops_and_adds(of: Target) -> None:
    first = plan_of(of, shards_of(of, KEYS))
    base = assemble(first, Tables(), receipts_of(first, rejected=("3",)))
    dropped = base.parts.filter(pa.compute.equal(base.parts["source_key"], "5"))["shard_id"][0].as_py()
    gone = base.parts.filter(pa.compute.equal(base.parts["shard_id"], dropped))["source_key"].to_pylist()
    removed = [key for key in ("3",) if key not in gone]
    later = plan_of(
        of,
        shards_of(of, ["new"], generation=2),
        len(KEYS) + 1 - len({*gone, *removed}),
        generation=2,
        dropped_shards=[dropped],
        removed_parts=removed_parts(*removed),
    )
    tables = assemble(later, base, receipts_of(later))
    assert set(tables.parts["source_key"].to_pylist()) == {*KEYS, "new"} - {*gone, *removed}
    assert dropped not in tables.shards["shard_id"].to_pylist() + tables.row_groups["shard_id"].to_pylist()
    assert tables.shards["generation"].to_pylist() == [1] * (base.shards.num_rows - 1) + [2]
    assert tables.rejects.num_rows == 0


def test_what_was_settled_is_settled_anew(of: Target) -> None:
    def settled(key: str) -> tuple[pa.Table, pa.Table]:
        common = {"generation": 0, "ordinal": 0, "shard_id": "", "attempt": 0, "is_permanent": True}
        part = {**common, "source_key": key, "status": "rejected", "reason": "unsupported_key"}
        reject = {**common, "source_key": key, "reason": "unsupported_key"}
        return (
            pa.Table.from_pylist([{name: part.get(name) for name in PARTS.names}], PARTS),
            pa.Table.from_pylist([{name: reject.get(name) for name in REJECTS.names}], REJECTS),
        )

    tables = Tables()
    for key in ("x", "y"):
        parts, rejects = settled(key)
        shards = shards_of(of, KEYS) if key == "x" else Shards.concat([])
        plan = plan_of(of, shards, len(KEYS) + 1, settled_parts=parts, settled_rejects=rejects)
        tables = assemble(plan, tables, receipts_of(plan))
    assert tables.rejects["source_key"].to_pylist() == ["y"]
    assert tables.parts["source_key"].to_pylist()[0] == "y"
    assert tables.parts.num_rows == len(KEYS) + 1


@pytest.mark.parametrize("num_sources", [11, 13])
def test_a_source_that_is_not_accounted_for_stops_it(of: Target, num_sources: int) -> None:
    plan = plan_of(of, shards_of(of, KEYS), num_sources)
    with pytest.raises(CorruptData, match=f"{num_sources} sources were listed, 12 are accounted for"):
        assemble(plan, Tables(), receipts_of(plan))


def test_a_receipt_that_accounts_for_other_parts_is_named(of: Target) -> None:
    plan = plan_of(of, shards_of(of, KEYS))
    good = receipts_of(plan)
    first = good[0].outcomes
    for outcomes in (first[1:], (*first, outcome("more")), (*first[1:], outcome("other")), (*first, first[0])):
        bad = [replace(good[0], outcomes=outcomes), *good[1:]]
        with pytest.raises(CorruptData, match=f"receipt of shard {good[0].shard_id}: it accounts for"):
            assemble(plan, Tables(), bad)


def test_receipts_must_be_as_many_as_shards(of: Target) -> None:
    plan = plan_of(of, shards_of(of, KEYS))
    with pytest.raises(ValueError, match="shorter"):
        assemble(plan, Tables(), receipts_of(plan)[:-1])


def tables_with_rejects(num_sources: int, num_rejected: int) -> Tables:
    statuses = ["rejected"] * num_rejected + ["used"] * (num_sources - num_rejected)
    rows = [
        {**dict.fromkeys(PARTS.names), "status": status, "reason": "corrupt" if status == "rejected" else ""}
        for status in statuses
    ]
    return Tables(parts=pa.Table.from_pylist(rows, PARTS))


@pytest.mark.parametrize(
    ("num_sources", "num_rejected", "max_rejects_min", "max_reject_fraction"),
    [(10, 10, 20, 0.0), (100, 20, 20, 0.0), (1000, 50, 20, 0.05), (3, 3, 0, 1.0), (5, 0, 0, 0.0)],
)
def test_rejects_within_the_limit(
    num_sources: int, num_rejected: int, max_rejects_min: int, max_reject_fraction: float
) -> None:
    limits = RejectLimits(max_rejects_min=max_rejects_min, max_reject_fraction=max_reject_fraction)
    counts = check_counts(tables_with_rejects(num_sources, num_rejected), 4, limits)
    assert (counts.num_rejected, counts.num_skipped_markers) == (num_rejected, 4)


@pytest.mark.parametrize(
    ("num_sources", "num_rejected", "max_rejects_min", "max_reject_fraction", "allowed"),
    [(100, 21, 20, 0.05, 20), (1000, 51, 20, 0.05, 50), (5, 1, 0, 0.0, 0), (30, 2, 0, 0.05, 1)],
)
def test_rejects_over_the_limit(
    num_sources: int, num_rejected: int, max_rejects_min: int, max_reject_fraction: float, allowed: int
) -> None:
    limits = RejectLimits(max_rejects_min=max_rejects_min, max_reject_fraction=max_reject_fraction)
    message = rf"{num_rejected} of {num_sources} sources were rejected \({num_rejected} corrupt\); at most {allowed} "
    with pytest.raises(TooManyRejects, match=message):
        check_counts(tables_with_rejects(num_sources, num_rejected), 0, limits)


@pytest.mark.parametrize("max_heads", [200, 0])
@pytest.mark.parametrize(("fate", "message"), [("gone", "is missing"), ("cut", "has 99 bytes")])
def test_a_file_that_is_not_as_its_receipt_says_is_named(
    of: Target, monkeypatch: pytest.MonkeyPatch, max_heads: int, fate: str, message: str
) -> None:
    monkeypatch.setattr(module, "_MAX_HEADS", max_heads)
    receipts = receipts_of(plan_of(of, shards_of(of, KEYS)))
    put_files(of.store, receipts)
    check_files(of.store, [*receipts, replace(receipts[0], file="", num_bytes=0)])
    if fate == "gone":
        of.store.delete([receipts[1].file])
    else:
        of.store.put(receipts[1].file, bytes(99))
    with pytest.raises(CorruptData, match=f"{receipts[1].file} {message}; its receipt says 101 bytes"):
        check_files(of.store, receipts)


def test_a_manifest_names_everything(of: Target) -> None:
    plan = plan_of(of, shards_of(of, KEYS))
    tables = assemble(plan, Tables(), receipts_of(plan))
    counts = check_counts(tables, plan.header.num_skipped_markers, RejectLimits())
    made = make_manifest(of, plan, Base(None, Tables()), tables, counts, "token")
    assert (made.version, made.base_version, made.generation, made.writer_token) == (1, 0, 1, "token")
    assert (made.task, made.recipe, made.recipe_hash, made.plan) == ("tiny", of.recipe, of.recipe.hash, plan.name)
    assert made.typed_features() == of.features()
    assert (made.batching, made.bundle_size, made.input_uri) == ("any", 1, "/in")
    assert (made.codec_versions, made.counts.num_skipped_markers) == ({"numpy": "0"}, 3)
    assert load_tables(of.store, made).parts.equals(tables.parts)
    assert sum(split.num_examples for split in made.splits.values()) == 2 * len(KEYS)


def test_the_settings_of_these_tests_make_several_shards(of: Target) -> None:
    assert len(shards_of(of, KEYS)) > 4
    assert of.recipe.shard == SMALL_SHARDS
