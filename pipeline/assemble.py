"""From receipts to a version: the tables and the manifest that a finished plan leads to, checked before they count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .config import RejectLimits
from .errors import CorruptData, NotFound, TooManyRejects
from .ledger import Receipt
from .manifest import (
    PARTS,
    REJECTS,
    ROW_GROUPS,
    SETTLED,
    SHARDS,
    Counts,
    Manifest,
    Tables,
    count,
    fingerprint,
    split_counts,
    write_tables,
)
from .plan import PART_FIELDS
from .plan_store import Plan, drop_parts
from .planning import Base
from .serial_arrow import sorted_by
from .shard import Target
from .storage import Store

#: Above this many new files one listing of data/ is cheaper than a HEAD each.
_MAX_HEADS = 200
_FROM_PLAN = [field.name for field in PART_FIELDS if field.name in PARTS.names]


def assemble(plan: Plan, base: Tables, receipts: Iterable[Receipt]) -> Tables:
    """Return the tables of the version that `plan` leads to.

    Args:
        plan: the plan.
        base: tables of its base version (empty for the first version).
        receipts: one for each of the plan's shards, in plan order; none is kept, for they hold an object a part.

    Raises:
        CorruptData: a receipt does not account for exactly the parts of its shard, or the whole does not add up.
    """
    header = plan.header
    keep_parts = base.parts.filter(pc.not_equal(base.parts["generation"], SETTLED))
    keep_rejects = base.rejects.filter(pc.not_equal(base.rejects["generation"], SETTLED))
    removed = plan.removed_parts()
    parts, rejects, files = _new_parts(plan, receipts)
    tables = Tables(
        shards=_in_order(drop_parts_of_shards(base.shards, header.dropped_shards), _new_shards(plan, files)),
        row_groups=_in_order(
            drop_parts_of_shards(base.row_groups, header.dropped_shards), _new_row_groups(plan, files)
        ),
        parts=_in_order(drop_parts(keep_parts, header.dropped_shards, removed), parts, plan.settled_parts()),
        rejects=_in_order(drop_parts(keep_rejects, header.dropped_shards, removed), rejects, plan.settled_rejects()),
    )
    if tables.parts.num_rows != header.num_sources:
        raise CorruptData(
            f"plan {plan.name}: {header.num_sources} sources were listed, {tables.parts.num_rows} are accounted for."
        )
    return tables


def make_manifest(
    target: Target, plan: Plan, base: Base, tables: Tables, counts: Counts, writer_token: str
) -> Manifest:
    """Return the manifest of the version that `plan` leads to; writes the table files that it names."""
    files = write_tables(target.store, tables, base.manifest, base.tables)
    features = target.features()
    task, rendering = target.task, target.rendering()
    # Not the plan's: a takeover may have copied its base under a new number.
    base_version = base.version
    return Manifest(
        version=base_version + 1,
        base_version=base_version,
        generation=plan.header.generation,
        writer_token=writer_token,
        epoch=target.epoch,
        fingerprint=fingerprint(target.recipe, features, tables.shards),
        task=target.recipe.task.name,
        modality=str(task.modality),
        objective=str(task.objective),
        features=features.to_json(),
        recipe=target.recipe,
        recipe_hash=target.recipe.hash,
        assets=plan.header.assets,
        store=target.recipe.store,
        rendering=None if rendering is None else rendering.to_json(),
        batching=task.batching,
        bundle_size=task.bundle_size,
        input_uri=plan.header.input_uri,
        plan=plan.name,
        splits=split_counts(tables.shards),
        counts=counts,
        tables=files,
        codec_versions=dict(target.versions),
    )


def check_counts(tables: Tables, num_skipped_markers: int, limits: RejectLimits) -> Counts:
    """Return the version's counts.

    Raises:
        TooManyRejects: more rejects than `limits` allow, over the whole resulting dataset.
    """
    counts = count(tables, num_skipped_markers)
    allowed = max(limits.max_rejects_min, int(limits.max_reject_fraction * counts.num_sources))
    if counts.num_rejected > allowed:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts.rejected_by_reason.items())
        raise TooManyRejects(
            f"{counts.num_rejected} of {counts.num_sources} sources were rejected ({reasons}); at most {allowed} may "
            "be (--max-reject-fraction, --max-rejects-min). Nothing was published, what is done is kept. With a "
            "higher limit the same command only publishes; after repairing the sources, add --replan."
        )
    return counts


def check_files(store: Store, receipts: Sequence[Receipt]) -> None:
    """Check that every file that the receipts name is there with its size.

    Raises:
        CorruptData: naming the first file that is missing or of another size.
    """
    named = [receipt for receipt in receipts if receipt.file]
    if len(named) > _MAX_HEADS:
        sizes = {info.key: info.num_bytes for page in store.list("data") for info in page}
    else:
        sizes = {receipt.file: _size(store, receipt.file) for receipt in named}
    for receipt in named:
        found = sizes.get(receipt.file, -1)
        if found != receipt.num_bytes:
            state = "is missing" if found < 0 else f"has {found} bytes"
            raise CorruptData(
                f"{receipt.file} {state}; its receipt says {receipt.num_bytes} bytes. Remove "
                f"_receipts/{receipt.shard_id}.json to make the shard again."
            )


def _size(store: Store, key: str) -> int:
    try:
        return store.head(key).num_bytes
    except NotFound:
        return -1


def drop_parts_of_shards(table: pa.Table, dropped_shards: Sequence[str]) -> pa.Table:
    """Return `table` without the rows of dropped shards."""
    dropped = pa.array(list(dropped_shards), pa.string())
    return table.filter(pc.invert(pc.is_in(table["shard_id"], value_set=dropped)))


def _in_order(*tables: pa.Table) -> pa.Table:
    """Return all rows, by generation and place in it; rows of one shard keep their order (the sort is stable)."""
    whole = pa.concat_tables([table.select(tables[0].column_names) for table in tables])
    generation, ordinal = (whole[name].to_numpy().astype(np.int64) for name in ("generation", "ordinal"))
    # The millions of parts of a first version stand in order already: no copy of them.
    if (np.diff((generation << 32) + ordinal) < 0).any():
        whole = sorted_by(whole, "generation", "ordinal")
    return whole.combine_chunks()


def _new_shards(plan: Plan, receipts: Sequence[Receipt]) -> pa.Table:
    columns = {name: plan.shards[name] for name in ("shard_id", "generation", "ordinal", "split", "attempt")}
    from_receipts = ("file", "sha256", "num_bytes", "num_rows", "footer_sha256", "footer_num_bytes")
    columns |= {name: pa.array([getattr(receipt, name) for receipt in receipts]) for name in from_receipts}
    if not receipts:
        return SHARDS.empty_table()
    return pa.table(columns).select(SHARDS.names).cast(SHARDS)


def _new_row_groups(plan: Plan, receipts: Sequence[Receipt]) -> pa.Table:
    rows = []
    for shard, receipt in zip(plan.shards.to_pylist(), receipts, strict=True):
        of_shard = {name: shard[name] for name in ("generation", "ordinal", "shard_id")}
        rows += [
            {
                **of_shard,
                "row_group": index,
                "num_rows": group.num_rows,
                "offset_bytes": group.offset_bytes,
                "num_bytes": group.num_bytes,
            }
            for index, group in enumerate(receipt.row_groups)
        ]
    return pa.Table.from_pylist(rows, ROW_GROUPS)


def _new_parts(plan: Plan, receipts: Iterable[Receipt]) -> tuple[pa.Table, pa.Table, list[Receipt]]:
    """Return (parts, rejects) of the plan's shards: plan rows joined with what their receipts say became of them.

    And the receipts without it.
    """
    parts, rejects, files = [PARTS.empty_table()], [REJECTS.empty_table()], []
    shards = plan.shards.to_pylist()
    planned = plan.parts()
    planned = planned.filter(pc.invert(planned["is_context"]))
    starts = pc.index_in(pa.array(range(len(shards)), pa.int32()), value_set=planned["shard_index"].combine_chunks())
    for index, (shard, receipt) in enumerate(zip(shards, receipts, strict=True)):
        start = starts[index].as_py()
        num_parts = 0 if start is None else shard["num_parts"]
        mine = planned.slice(start or 0, num_parts)
        found = {outcome.name: outcome for outcome in receipt.outcomes}
        names = [*zip(mine["source_key"].to_pylist(), mine["start"].to_pylist(), strict=True)]
        if set(names) != set(found) or len(names) != len(receipt.outcomes):
            raise CorruptData(
                f"receipt of shard {shard['shard_id']}: it accounts for {len(found)} parts, the plan has {len(names)}."
            )
        outcomes = [found[name] for name in names]
        parts.append(_part_rows(shard, mine, outcomes))
        files.append(replace(receipt, outcomes=()))
        rejects.append(_reject_rows(shard, [outcome for outcome in outcomes if outcome.status == "rejected"]))
    return pa.concat_tables(parts), pa.concat_tables(rejects), files


def _part_rows(shard: dict[str, Any], planned: pa.Table, outcomes: Sequence[Any]) -> pa.Table:
    columns: dict[str, Any] = {name: planned[name] for name in _FROM_PLAN}
    for name in ("generation", "ordinal", "shard_id", "split", "attempt"):
        columns[name] = pa.array([shard[name]] * planned.num_rows, PARTS.field(name).type)
    for name in ("status", "reason", "is_permanent", "sha256", "num_examples"):
        columns[name] = pa.array([getattr(outcome, name) for outcome in outcomes], PARTS.field(name).type)
    return pa.table([columns[name] for name in PARTS.names], schema=PARTS)


def _reject_rows(shard: dict[str, Any], outcomes: Sequence[Any]) -> pa.Table:
    rows = [
        {
            "generation": shard["generation"],
            "ordinal": shard["ordinal"],
            "shard_id": shard["shard_id"],
            "source_key": outcome.source_key,
            "start": outcome.start,
            "etag": outcome.etag,
            "stage": outcome.stage,
            "reason": outcome.reason,
            "is_permanent": outcome.is_permanent,
            "message": outcome.message,
            "error_offset_bytes": outcome.offset_bytes,
            "attempt": shard["attempt"],
        }
        for outcome in outcomes
    ]
    return pa.Table.from_pylist(rows, REJECTS)
