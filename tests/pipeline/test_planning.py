from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.assemble import assemble, make_manifest
from unlabeled.pipeline.config import RejectLimits
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.groups import group_function
from unlabeled.pipeline.increment import CHECKED_SCHEMA
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA, REJECTED_SCHEMA, Inventory
from unlabeled.pipeline.ledger import Outcome, Receipt, write_receipt
from unlabeled.pipeline.manifest import PARTS, REJECTS, SETTLED, Tables, count, publish
from unlabeled.pipeline.plan import MAX_ATTEMPTS
from unlabeled.pipeline.plan_store import Draft, Plan, save_plan
from unlabeled.pipeline.planning import Base, Planning, draft_plan, read_checked, save_checked, settle
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.task import PretextTask

from tests.small_datasets import Neighbours, Tiny, inventory_rows, recipe, target

REJECTED_NAMES = ("a//b", "c/../d")


def sha_of(etag: str) -> str:
    """The etag is the content; `content/2` is the same content, uploaded again."""
    return f"sha256 of {etag.partition('/')[0]}"


def bounds_of(etag: str) -> list[tuple[int, int]]:
    """Return the parts of a content: `long3` is cut into three, all others are whole."""
    num = int(etag[4]) if etag.startswith("long") else 0
    return [(10 * part, 10 * part + 10) for part in range(num)] or [(0, -1)]


def inventory(contents: Mapping[str, str], rejected: tuple[str, ...] = (), root: str = "/in") -> Inventory:
    rows = [
        {**inventory_rows([key], 3000).to_pylist()[0], "etag": etag, "start": start, "end": end}
        for key, etag in sorted(contents.items())
        for start, end in bounds_of(etag)
    ]
    wrong = [
        {"source_key": key, "num_bytes": 1, "etag": "e", "reason": "unsupported_key", "message": "cannot be named"}
        for key in sorted(rejected)
    ]
    sources = pa.Table.from_pylist(rows, INVENTORY_SCHEMA)
    return Inventory(root, sources, pa.Table.from_pylist(wrong, REJECTED_SCHEMA), 2)


def planning(of: Target, listed: Inventory, **changes: Any) -> Planning:
    def hash_sources(sources: pa.Table) -> dict[str, str]:
        keys, etags = sources["source_key"].to_pylist(), sources["etag"].to_pylist()
        return {key: sha_of(etag) for key, etag in zip(keys, etags, strict=True)}

    return Planning(**{"target": of, "inventory": listed, "assets": {}, "hash_sources": hash_sources, **changes})


NO_BASE = Base(None, Tables())
FATES = {"broken": ("rejected", "corrupt", True), "hangs": ("rejected", "decoder_hang", False)}


def outcome(part: Mapping[str, Any]) -> Outcome:
    """Return what a worker would find; what a content begins with says what becomes of it."""
    name = part["etag"].rstrip("0123456789/")
    status, reason, is_permanent = FATES.get(name, ("filtered", name, True) if name == "small" else ("used", "", True))
    sha256 = sha_of(part["etag"])
    if part["content_version"] not in ("", sha256):
        status, reason, is_permanent = "rejected", "changed", False
    if etag_breaks_at(part["etag"]) == part["start"]:
        status, reason = "rejected", "corrupt"
    return Outcome(
        part["source_key"],
        status,
        reason,
        is_permanent=is_permanent,
        sha256=sha256,
        etag=part["etag"],
        num_examples=1,
        start=part["start"],
    )


def etag_breaks_at(etag: str) -> int:
    """Return where a long content is broken: `long3b` in its second part."""
    return 10 if etag.startswith("long") and etag[5:6] == "b" else -1


def write_receipts(of: Target, plan: Plan) -> list[Receipt]:
    """Write the receipts that are missing, as workers would, and return those that count."""
    receipts = []
    for index, shard in enumerate(plan.shards.to_pylist()):
        parts = plan.parts_of(index)
        own = parts.filter(pc.invert(parts["is_context"])).to_pylist()
        made = Receipt(
            shard_id=shard["shard_id"],
            split=shard["split"],
            file=f"data/{shard['shard_id']}",
            sha256=shard["shard_id"],
            num_bytes=1,
            num_rows=1,
            footer_sha256="",
            footer_num_bytes=0,
            row_groups=(),
            outcomes=tuple(map(outcome, own)),
            versions={},
        )
        receipts.append(write_receipt(of.store, made))
    return receipts


def carry_out(of: Target, draft: Draft, base: Base) -> Base:
    """Have the shards made, and publish."""
    plan = save_plan(of.store, draft)
    receipts = write_receipts(of, plan)
    tables = assemble(plan, Tables() if draft.is_rebuild else base.tables, receipts)
    manifest = make_manifest(of, plan, base, tables, count(tables, 0), "token")
    publish(of.store, manifest)
    return Base(manifest, tables)


def step(of: Target, base: Base, listed: Inventory) -> Base:
    draft = draft_plan(planning(of, listed), base)
    return base if draft is None else carry_out(of, draft, base)


@pytest.fixture
def of(tmp_path: Path) -> Target:
    return target(tmp_path)


CONTENTS = {str(number): f"photo{number}" for number in range(20)}


def test_the_first_plan_holds_everything(of: Target) -> None:
    draft = draft_plan(planning(of, inventory(CONTENTS, REJECTED_NAMES)), NO_BASE)
    assert draft is not None
    assert sorted(draft.shards.parts["source_key"].to_pylist()) == sorted(CONTENTS)
    assert (draft.base_version, draft.generation, draft.num_sources, draft.num_skipped_markers) == (0, 1, 22, 2)
    assert (draft.input_uri, draft.dropped_shards, draft.removed_parts.num_rows) == ("/in", [], 0)
    assert draft.shards.shards["ordinal"].to_pylist() == list(range(len(draft.shards)))
    assert draft.settled_rejects["source_key"].to_pylist() == list(REJECTED_NAMES)
    assert all(draft.shards.shards["shard_id"].to_pylist())


def test_nothing_new_is_no_plan(of: Target) -> None:
    base = step(of, NO_BASE, inventory(CONTENTS, REJECTED_NAMES))
    assert draft_plan(planning(of, inventory(CONTENTS, REJECTED_NAMES)), base) is None


def test_a_rebuild_plans_everything_again_and_counts_on(of: Target) -> None:
    base = step(of, NO_BASE, inventory(CONTENTS))
    draft = draft_plan(planning(of, inventory(CONTENTS)), Base(base.manifest, Tables(), is_rebuild=True))
    assert draft is not None
    assert (draft.base_version, draft.generation, draft.is_rebuild) == (1, 2, True)
    assert sorted(draft.shards.parts["source_key"].to_pylist()) == sorted(CONTENTS)


def test_a_name_that_cannot_be_read_alone_makes_a_version_without_shards(of: Target) -> None:
    base = step(of, NO_BASE, inventory(CONTENTS))
    draft = draft_plan(planning(of, inventory(CONTENTS, REJECTED_NAMES)), base)
    assert draft is not None
    assert (len(draft.shards), draft.num_sources) == (0, 22)
    after = carry_out(of, draft, base)
    assert after.tables.shards.equals(base.tables.shards)
    assert draft_plan(planning(of, inventory(CONTENTS)), after) is not None


def test_shards_planned_again_keep_their_place(of: Target) -> None:
    base = step(of, NO_BASE, inventory(CONTENTS))
    draft = draft_plan(planning(of, inventory({**CONTENTS, "7": "photo99", "new": "photo"})), base)
    assert draft is not None
    old = base.tables.parts.filter(pc.equal(base.tables.parts["source_key"], "7")).to_pylist()[0]
    replanned, fresh = draft.shards.shards.to_pylist()
    names = ("generation", "ordinal", "split", "attempt")
    assert {name: replanned[name] for name in names} == {name: old[name] for name in names}
    assert (fresh["generation"], fresh["ordinal"]) == (2, 0)
    assert draft.dropped_shards == [old["shard_id"]]


def test_a_shard_that_lost_all_its_sources_goes(of: Target) -> None:
    base = step(of, NO_BASE, inventory({**CONTENTS}))
    shard = base.tables.parts["shard_id"][0].as_py()
    gone = base.tables.parts.filter(pc.equal(base.tables.parts["shard_id"], shard))["source_key"].to_pylist()
    draft = draft_plan(planning(of, inventory({key: CONTENTS[key] for key in CONTENTS if key not in gone})), base)
    assert draft is not None
    assert (len(draft.shards), draft.dropped_shards) == (0, [shard])


def test_groups_come_from_the_recipe_or_a_csv(tmp_path: Path) -> None:
    of = target(tmp_path, group_by=r"^(\d)")
    keys = {"1/a": "photo", "1/b": "photo", "2/c": "photo"}
    drafts = [
        draft_plan(planning(of, inventory(keys)), NO_BASE),
        draft_plan(planning(of, inventory(keys), group_csv=b"source_key,group\n1/a,p\n"), NO_BASE),
    ]
    groups = [
        dict(
            zip(draft.shards.parts["source_key"].to_pylist(), draft.shards.parts["group_id"].to_pylist(), strict=True)
        )
        for draft in drafts
        if draft
    ]
    assert groups == [{"1/a": "1", "1/b": "1", "2/c": "2"}, {"1/a": "p", "1/b": "1/b", "2/c": "2/c"}]


def test_a_wrong_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`group_by`"):
        draft_plan(planning(target(tmp_path, group_by="("), inventory(CONTENTS)), NO_BASE)


def test_a_look_ahead_stores_nothing(of: Target) -> None:
    base = step(of, NO_BASE, inventory(CONTENTS))
    before = {info.key for page in of.store.list() for info in page}
    uploaded_again = inventory({key: f"{content}/2" for key, content in CONTENTS.items()})
    assert draft_plan(planning(of, uploaded_again, write=False), base) is None
    assert {info.key for page in of.store.list() for info in page} == before
    assert draft_plan(planning(of, uploaded_again), base) is None
    assert read_checked(of.store).num_rows == len(CONTENTS)


def test_what_was_checked_is_kept_over_runs(of: Target) -> None:
    rows = [{"source_key": "a", "etag": "e", "num_bytes": 1, "sha256": "s"}]
    for _ in range(2):
        save_checked(of.store, pa.Table.from_pylist(rows, CHECKED_SCHEMA))
    save_checked(of.store, CHECKED_SCHEMA.empty_table())
    assert read_checked(of.store).to_pylist() == rows


def test_objects_that_no_shard_will_hold_are_settled(of: Target) -> None:
    parts, rejects = settle(inventory({}, ("b", "a")), recipe(), group_function(None))
    assert parts.schema.equals(PARTS)
    assert rejects.schema.equals(REJECTS)
    assert parts["source_key"].to_pylist() == rejects["source_key"].to_pylist() == ["a", "b"]
    part, reject = parts.to_pylist()[0], rejects.to_pylist()[0]
    assert (part["generation"], part["status"], part["reason"], part["is_permanent"]) == (
        SETTLED,
        "rejected",
        "unsupported_key",
        True,
    )
    assert (reject["stage"], reject["message"], reject["error_offset_bytes"]) == ("list", "cannot be named", -1)
    assert part["split"] in ("train", "val")


def test_context_comes_from_the_whole_dataset(tmp_path: Path) -> None:
    of = target(tmp_path, Neighbours(num_negatives=3), val_fraction=0)
    base = step(of, NO_BASE, inventory(CONTENTS))
    draft = draft_plan(planning(of, inventory({**CONTENTS, "new": "photo"})), base)
    assert draft is not None
    parts = draft.shards.parts
    context = parts.filter(parts["is_context"])
    assert context.num_rows == 3
    assert set(context["source_key"].to_pylist()) <= set(CONTENTS)
    assert parts["source_key"].to_pylist()[-1] == "new"


def test_context_is_read_as_it_is_listed_now(tmp_path: Path) -> None:
    of = target(tmp_path, Neighbours(num_negatives=3), val_fraction=0)
    base = step(of, NO_BASE, inventory(CONTENTS))
    now = {key: f"{etag}/2" for key, etag in CONTENTS.items()} | {"new": "photo"}
    draft = draft_plan(planning(of, inventory(now)), base)
    assert draft is not None
    context = [row for row in draft.shards.parts.to_pylist() if row["is_context"]]
    assert len(context) == 3
    assert {row["source_key"]: row["etag"] for row in context}.items() <= now.items()


def test_what_is_gone_or_unusable_lends_nothing(tmp_path: Path) -> None:
    of = target(tmp_path, Neighbours(num_negatives=5), val_fraction=0)
    contents = {"1": "photo1", "2": "broken", "3": "small", "4": "photo4"}
    base = step(of, NO_BASE, inventory(contents))
    now = {**contents, "new": "photo"}
    del now["4"]
    draft = draft_plan(planning(of, inventory(now)), base)
    assert draft is not None
    context = {row["source_key"] for row in draft.shards.parts.to_pylist() if row["is_context"]}
    assert context <= {"1", "2", "3", "new"}
    assert "4" not in context


def test_a_source_that_hangs_is_tried_a_few_times(of: Target) -> None:
    contents = {**CONTENTS, "h": "hangs"}
    base, num_plans = NO_BASE, 0
    while draft := draft_plan(planning(of, inventory(contents)), base):
        base, num_plans = carry_out(of, draft, base), num_plans + 1
        assert num_plans <= MAX_ATTEMPTS
    assert num_plans == MAX_ATTEMPTS
    assert count(base.tables, 0).rejected_by_reason == {"decoder_hang": 1}
    assert RejectLimits().max_rejects_min > 1


def test_a_receipt_of_an_abandoned_plan_does_not_stand_for_changed_content(of: Target) -> None:
    abandoned = draft_plan(planning(of, inventory(CONTENTS)), NO_BASE)
    assert abandoned is not None
    carry_out(target(of.store.uri), abandoned, NO_BASE)
    # As if nothing had been published: only receipts are left.
    of.store.delete(["_manifests/v00000001.json"])
    base = step(of, NO_BASE, inventory({**CONTENTS, "7": "photo99"}))
    by_key = {row["source_key"]: row["sha256"] for row in base.tables.parts.to_pylist()}
    assert by_key["7"] == "sha256 of photo99"
    assert by_key["8"] == "sha256 of photo8"


#: Every write waits for the disk; where there is a disk in memory, hundreds of small datasets take seconds.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of its own is made there
KINDS = ["photo1", "photo1/2", "photo2", "photo3", "small1", "small2", "broken1", "hangs1", "hangs1/2", "hangs2"]
KINDS += ["long2", "long2/2", "long3", "long3b", "long4b"]
RUNS = ["run", "run", "run", "rebuild", "abandoned"]
#: How it ends, key -> content, names that cannot be read.
Run = tuple[str, dict[str, str], set[str]]
LISTINGS = st.dictionaries(st.sampled_from("abcdefghi"), st.sampled_from(KINDS), min_size=1)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(RUNS), LISTINGS, st.sets(st.sampled_from(REJECTED_NAMES))), min_size=2, max_size=5
    ),
    st.sampled_from([Tiny(), Neighbours(num_negatives=2)]),
)
def test_after_every_run_the_dataset_is_what_is_listed(runs: list[Run], task: PretextTask[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        check_runs(target(folder, task), runs)


def check_runs(of: Target, runs: list[Run]) -> None:
    base = NO_BASE
    for kind, contents, rejected in runs:
        listed, before = inventory(contents, tuple(rejected)), base
        if kind == "abandoned":
            draft = draft_plan(planning(of, listed), base)
            if draft is not None:
                write_receipts(of, save_plan(of.store, draft))
            continue
        if kind == "rebuild":
            before = Base(base.manifest, Tables(), is_rebuild=base.manifest is not None)
        base = step(of, before, listed)
        parts = {(row["source_key"], row["start"]): row for row in base.tables.parts.to_pylist()}
        assert len(parts) == base.tables.parts.num_rows
        bounds = {(key, start): end for key, etag in contents.items() for start, end in bounds_of(etag)}
        assert {name: part["end"] for name, part in parts.items()} == {**bounds, **{(key, 0): -1 for key in rejected}}
        for key, start in bounds:
            expected = outcome({"source_key": key, "start": start, "etag": contents[key], "content_version": ""})
            assert (parts[key, start]["status"], parts[key, start]["reason"]) == (expected.status, expected.reason)
            assert parts[key, start]["sha256"] == expected.sha256
        assert sorted((row["source_key"], row["start"]) for row in base.tables.rejects.to_pylist()) == sorted(
            name for name, part in parts.items() if part["status"] == "rejected"
        )
        shards = base.tables.shards["shard_id"].to_pylist()
        assert len(set(shards)) == len(shards)
        assert {part["shard_id"] for part in parts.values()} <= {*shards, ""}
        # A shard keeps its name, unless it lost rows or its last part.
        for shard in set(before.tables.shards["shard_id"].to_pylist()) - set(shards):
            lost = before.tables.parts.filter(pc.equal(before.tables.parts["shard_id"], shard)).to_pylist()
            changed = [sha_of(contents.get(part["source_key"], "gone")) != part["sha256"] for part in lost]
            retried = [not part["is_permanent"] for part in lost]
            has_lost_rows = any(was for was, part in zip(changed, lost, strict=True) if part["status"] == "used")
            assert has_lost_rows or all(was or again for was, again in zip(changed, retried, strict=True))
