"""Planning a run of one dataset: inventory and base version in, a stored plan out (or nothing to do)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .config import Recipe
from .errors import Stage
from .grouping import Grouping
from .groups import GroupOf, group_function, splits_of
from .increment import CHECKED_SCHEMA, Changes, Hasher, compare
from .inventory import Inventory
from .ledger import listed_receipts, read_receipts
from .manifest import PARTS, REJECTS, SETTLED, Manifest, Tables, create_content, parquet_bytes
from .parts import part_names
from .plan import PART_FIELDS, PARTS_SCHEMA, SHARDS_SCHEMA, Shards, pack, part_rows, with_context, with_ids
from .plan_store import Draft, drop_parts
from .rng import sha256_hex
from .serial_arrow import read_parquet
from .shard import Target
from .storage import Store

CHECKED_FOLDER = "_fingerprints/checked/"


@dataclass(frozen=True)
class Base:
    """The version that a plan builds on; `manifest` is None and tables are empty for the first one.

    A rebuild has a base (its number counts on) but none of its tables.
    """

    manifest: Manifest | None
    tables: Tables
    is_rebuild: bool = False

    @property
    def version(self) -> int:
        """Number of the base version, 0 for none."""
        return self.manifest.version if self.manifest else 0


@dataclass(frozen=True)
class Planning:
    """What a plan is made from besides its base.

    `write` is False for a look ahead: then nothing is stored.
    """

    target: Target
    inventory: Inventory
    assets: Mapping[str, str]
    hash_sources: Hasher
    group_csv: bytes | None = None
    write: bool = True
    grouping: Grouping | None = None


def draft_plan(work: Planning, base: Base) -> Draft | None:
    """Return the plan that takes the dataset to what the inventory lists; None where nothing is new."""
    target, assets, hash_sources = work.target, work.assets, work.hash_sources
    recipe = target.recipe
    grouping = work.grouping or Grouping(group_function(recipe.group_by, work.group_csv))
    group_of = grouping.group_of
    inventory, copies = without_filtered(work.inventory, grouping)
    in_shards = base.tables.parts.filter(pc.not_equal(base.tables.parts["generation"], SETTLED))
    changes = compare(
        inventory.sources,
        in_shards,
        read_checked(target.store),
        hash_sources,
        retry_keys=inventory.retry_keys,
        replanned_shards=inventory.replanned_shards,
    )
    if work.write:
        save_checked(target.store, changes.checked)
    settled_parts, settled_rejects = settle(inventory, recipe, group_of, copies)
    settled_before = base.tables.parts.filter(pc.equal(base.tables.parts["generation"], SETTLED))
    if base.manifest and not base.is_rebuild and changes.is_empty and settled_parts.equals(settled_before):
        return None
    generation = (base.manifest.generation if base.manifest else 0) + 1
    replanned, emptied = _replanned(changes, base.tables, group_of)
    fresh = _fresh(changes.new, target, group_of, generation)
    shards = Shards.concat([*replanned, fresh])
    num_partners = target.task.num_partners
    if num_partners:
        shards = with_context(shards, num_partners, _lenders(shards, in_shards, changes, inventory.sources))
    shards = with_ids(shards, recipe, assets)
    shards = _without_stale_receipts(target.store, shards, recipe, assets, hash_sources)
    kept = drop_parts(in_shards, [*changes.replanned, *emptied], changes.removed)
    # A shard none of whose parts is left would stand beside one of the same name, were they planned like that again.
    dropped = sorted(set(base.tables.shards["shard_id"].to_pylist()) - set(kept["shard_id"].to_pylist()))
    num_planned = int(pc.sum(shards.shards["num_parts"]).as_py() or 0)
    num_listed = inventory.sources.num_rows
    if kept.num_rows + num_planned != num_listed:
        raise AssertionError(f"planning lost sources: {kept.num_rows} kept + {num_planned} planned of {num_listed}")
    return Draft(
        base_version=base.version,
        generation=generation,
        recipe=recipe,
        assets=dict(assets),
        input_uri=inventory.root,
        num_skipped_markers=inventory.num_skipped_markers,
        num_sources=inventory.sources.num_rows + settled_parts.num_rows,
        is_rebuild=base.is_rebuild,
        shards=shards,
        settled_parts=settled_parts,
        settled_rejects=settled_rejects,
        dropped_shards=dropped,
        removed_parts=changes.removed,
    )


def without_filtered(inventory: Inventory, grouping: Grouping) -> tuple[Inventory, pa.Table]:
    """Return (the inventory without the sources that `grouping` filters, those sources with their `reason`)."""
    if not grouping.filtered:
        empty = inventory.sources.slice(0, 0)
        return inventory, empty.append_column("reason", pa.array([], pa.string()))
    keys = pa.array(sorted(grouping.filtered), pa.string())
    is_filtered = pc.is_in(inventory.sources["source_key"], value_set=keys)
    out = inventory.sources.filter(is_filtered)
    reasons = [grouping.filtered[key] for key in out["source_key"].to_pylist()]
    kept = replace(inventory, sources=inventory.sources.filter(pc.invert(is_filtered)))
    return kept, out.append_column("reason", pa.array(reasons, pa.string()))


def settle(
    inventory: Inventory, recipe: Recipe, group_of: GroupOf, copies: pa.Table | None = None
) -> tuple[pa.Table, pa.Table]:
    """Return (parts, rejects) of listed objects that no shard will hold, sorted by key.

    `copies`: sources that were filtered while planning: inventory columns and `reason`.
    """
    filtered = _filtered_parts(copies, recipe, group_of) if copies is not None else []
    rows = sorted(inventory.rejected.to_pylist(), key=lambda row: (row["source_key"], row["message"]))
    groups = [group_of(row["source_key"]) for row in rows]
    splits = splits_of(groups, recipe.val_fraction, recipe.seed)
    common = {"generation": SETTLED, "ordinal": 0, "shard_id": "", "attempt": 0, "is_permanent": True}
    parts = [
        {
            **dict.fromkeys(("content_version", "sha256", "object_key", "unit"), ""),
            **dict.fromkeys(("start", "offset_bytes", "num_examples"), 0),
            **dict.fromkeys(("end", "row_group", "row"), -1),
            **common,
            "source_key": row["source_key"],
            "group_id": group,
            "split": split,
            "status": "rejected",
            "reason": row["reason"],
            "num_bytes": row["num_bytes"],
            "etag": row["etag"],
        }
        for row, group, split in zip(rows, groups, splits, strict=True)
    ]
    rejects = [
        {
            **common,
            "source_key": row["source_key"],
            "start": 0,
            "etag": row["etag"],
            "stage": str(Stage.LIST),
            "reason": row["reason"],
            "message": row["message"],
            "error_offset_bytes": -1,
        }
        for row in rows
    ]
    parts = sorted([*parts, *filtered], key=lambda row: str(row["source_key"]))
    return pa.Table.from_pylist(parts, PARTS), pa.Table.from_pylist(rejects, REJECTS)


def _filtered_parts(copies: pa.Table, recipe: Recipe, group_of: GroupOf) -> list[dict[str, Any]]:
    rows = copies.to_pylist()
    groups = [group_of(row["source_key"]) for row in rows]
    splits = splits_of(groups, recipe.val_fraction, recipe.seed)
    unread = {"content_version": "", "sha256": "", "num_examples": 0}
    place = {"generation": SETTLED, "ordinal": 0, "shard_id": "", "attempt": 0, "is_permanent": True}
    return [
        {**row, **unread, **place, "group_id": group, "split": split, "status": "filtered"}
        for row, group, split in zip(rows, groups, splits, strict=True)
    ]


def _fresh(new: pa.Table, target: Target, group_of: GroupOf, generation: int) -> Shards:
    """Return shards for new sources, those of one attempt together, numbered through."""
    packed = []
    attempts = sorted(pc.unique(new["attempt"]).to_pylist())
    for attempt in attempts:
        mine = new if len(attempts) == 1 else new.filter(pc.equal(new["attempt"], attempt))
        mine = mine.drop_columns(["attempt"])
        packed.append(pack(mine, target.task, target.recipe, group_of, generation=generation, attempt=attempt))
    shards = Shards.concat(packed)
    column = SHARDS_SCHEMA.get_field_index("ordinal")
    ordinals = pa.array(np.arange(len(shards), dtype=np.int32))
    return replace(shards, shards=shards.shards.set_column(column, "ordinal", ordinals))


def _replanned(changes: Changes, base: Tables, group_of: GroupOf) -> tuple[list[Shards], list[str]]:
    """Return (what remains of shards that held changed or deleted sources, in their places; ids of emptied ones)."""
    rows = {row["shard_id"]: row for row in base.shards.to_pylist() if row["shard_id"] in changes.replanned}
    planned, emptied = [], []
    for shard_id in sorted(rows, key=lambda name: (rows[name]["generation"], rows[name]["ordinal"])):
        remains, row = changes.replanned[shard_id], rows[shard_id]
        if remains.num_rows == 0:
            emptied.append(shard_id)
            continue
        groups = [group_of(key) for key in remains["source_key"].to_pylist()]
        parts = part_rows(remains, groups, np.zeros(remains.num_rows, np.int64))
        table = pa.Table.from_pylist(
            [
                {
                    "shard_id": "",
                    **{name: row[name] for name in ("generation", "ordinal", "split", "attempt")},
                    "num_parts": remains.num_rows,
                    "estimated_num_bytes": row["num_bytes"],
                }
            ],
            SHARDS_SCHEMA,
        )
        planned.append(Shards.of(table, parts))
    return planned, emptied


def _lenders(shards: Shards, in_shards: pa.Table, changes: Changes, listed: pa.Table) -> pa.Table:
    """Return all parts that may be read as context, with their split: planned ones, then those of the base.

    The base's are read where and as what they are listed now: the same content may stand there with another etag.
    """
    names = [field.name for field in PART_FIELDS]
    parts = shards.parts
    splits = shards.shards["split"].take(parts["shard_index"])
    planned = parts.select(names).append_column("split", splits)
    used = in_shards.filter(pc.equal(in_shards["status"], "used"))
    gone = pa.concat_tables([changes.removed, planned.select(changes.removed.schema.names)])
    used = used.filter(pc.invert(pc.is_in(part_names(used), value_set=part_names(gone))))
    used = used.append_column("is_context", pa.array([True] * used.num_rows, pa.bool_()))
    used = used.filter(pc.invert(pc.is_in(used["shard_id"], value_set=pa.array(list(changes.replanned), pa.string()))))
    place = pc.index_in(part_names(used), value_set=part_names(listed))
    for name in set(listed.column_names) & set(names):
        column = listed[name].take(place).cast(used.schema.field(name).type)
        used = used.set_column(used.schema.get_field_index(name), used.schema.field(name), column)
    return pa.concat_tables([planned, used.select([*names, "split"])])


def _without_stale_receipts(
    store: Store, shards: Shards, recipe: Recipe, assets: Mapping[str, str], hash_sources: Hasher
) -> Shards:
    """Return the shards such that no receipt of an earlier, abandoned plan answers for content that has changed since.

    A receipt that stands already was written for the content of its time. Where an etag differs from the listed one,
    the source is hashed, and new content is named in the plan, which gives the shard another id.
    """
    ids = shards.shards["shard_id"].to_pylist()
    done = sorted(set(ids) & listed_receipts(store))
    if not done:
        return shards
    read_as = {outcome.name: outcome for receipt in read_receipts(store, done) for outcome in receipt.outcomes}
    parts = shards.parts
    keys, etags = parts["source_key"].to_pylist(), parts["etag"].to_pylist()
    names = [*zip(keys, parts["start"].to_pylist(), strict=True)]
    doubtful = [row for row, name in enumerate(names) if name in read_as and read_as[name].etag != etags[row]]
    if not doubtful:
        return shards
    fresh = hash_sources(parts.take(doubtful))
    versions = parts["content_version"].to_pylist()
    for row in doubtful:
        if fresh.get(keys[row], "") != read_as[names[row]].sha256:
            versions[row] = fresh.get(keys[row], "")
    column = PARTS_SCHEMA.get_field_index("content_version")
    parts = parts.set_column(column, "content_version", pa.array(versions, pa.string()))
    return with_ids(Shards.of(shards.shards, parts), recipe, assets)


def read_checked(store: Store) -> pa.Table:
    """Return the etags that earlier runs found to belong to unchanged content (CHECKED_SCHEMA)."""
    keys = sorted(info.key for page in store.list(CHECKED_FOLDER) for info in page)
    tables = [read_parquet(store.get(key)) for key in keys]
    return pa.concat_tables([CHECKED_SCHEMA.empty_table(), *tables])


def save_checked(store: Store, checked: pa.Table) -> None:
    """Keep the etags in `checked`, so that the next run does not hash those objects again."""
    if checked.num_rows:
        data = parquet_bytes(checked)
        create_content(store, f"{CHECKED_FOLDER}{sha256_hex(data)}.parquet", data)
