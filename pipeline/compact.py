"""Compaction: many small shards become few. No row changes, no source is read; what it publishes is a plain version.

A merged shard is named by the shards that it was made of, and read like any other: when one of its sources changes,
it is planned again from its parts. Its files and receipts come first, its plan last: a plan that stands can be
finished by any run, without making anything.
"""

from __future__ import annotations

import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .assemble import assemble, check_files
from .card import repair_card
from .config import FORMAT_VERSION
from .errors import AlreadyExists, ConfigError, CorruptData
from .increment import REMOVED_SCHEMA
from .lease import check_newest
from .ledger import Outcome, Receipt, read_receipt, write_receipt
from .manifest import (
    SETTLED,
    Manifest,
    Tables,
    count,
    fingerprint,
    load_tables,
    publish,
    require_manifest,
    split_counts,
    write_tables,
)
from .merge import merge
from .plan import PARTS_SCHEMA, SHARDS_SCHEMA, Shards
from .plan_store import Draft, Plan, load_plan, read_plan_table, save_plan, unpublished_plan
from .rng import canonical_json, sha256_hex
from .storage import Store

#: A shard below this share of the target size is small.
SMALL_FRACTION = 0.25
_NUM_THREADS = 2
_NUM_READERS = 16
_PLANS = "_plans/"


@dataclass(frozen=True)
class Merged:
    """One shard to be: its id, and the shards that it is made of (rows of the shards table), in order."""

    shard_id: str
    shards: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Compacted:
    """What a compaction did. `manifest` is the newest version: the base where there was nothing to merge."""

    manifest: Manifest
    num_shards_before: int
    num_merged: int
    num_made: int
    num_bytes_rewritten: int


def compact(store: Store, *, epoch: int = 0) -> Compacted:
    """Merge a dataset's small shards and publish the version that names what came of it.

    Args:
        store: of the dataset.
        epoch: the lease under which this is done, 0 for none.

    Raises:
        NotFound: nothing is published there.
        ConfigError: a run has left a plan that is to be finished first.
        CorruptData: a shard is damaged; nothing is published.
        Conflict: another writer published first.
    """
    base = require_manifest(store)
    tables = load_tables(store, base)
    wanted = choose(base, tables.shards)
    _check_free(store, base, wanted)
    receipts = _made(store, base, tables, wanted)
    rewritten = sum(shard["num_bytes"] for one in wanted for shard in one.shards)
    done = Compacted(
        base,
        base.counts.num_shards,
        sum(len(one.shards) for one in wanted),
        len(wanted),
        num_bytes_rewritten=rewritten,
    )
    if not wanted:
        return done
    plan = save_plan(store, _draft(store, base, tables, wanted))
    check_files(store, receipts)
    manifest, after = _version(store, (base, tables), assemble(plan, tables, receipts), plan, epoch)
    check_newest(store, epoch)
    publish(store, manifest)
    repair_card(store, manifest, after)
    return replace(done, manifest=manifest)


def choose(manifest: Manifest, shards: pa.Table) -> list[Merged]:
    """Return which shards become one: small ones of a split and attempt, in order, up to the target size together."""
    target_num_bytes = manifest.recipe.shard.target_num_bytes
    small = [row for row in shards.to_pylist() if row["num_bytes"] < SMALL_FRACTION * target_num_bytes]
    alike: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in small:
        alike[row["split"], row["attempt"]].append(row)
    chosen = [group for rows in alike.values() for group in _filled(rows, target_num_bytes) if len(group) > 1]
    return [Merged(_merged_id(manifest, group), tuple(group)) for group in chosen]


def _filled(rows: Sequence[Mapping[str, Any]], target_num_bytes: int) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    num_bytes = 0
    for row in rows:
        if group and num_bytes + row["num_bytes"] > target_num_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(row)
        num_bytes += row["num_bytes"]
    if group:
        yield group


def _merged_id(manifest: Manifest, shards: Sequence[Mapping[str, Any]]) -> str:
    """Return the id of a merged shard: never that of a shard that is made of the same sources from their bytes."""
    merged = [[shard["shard_id"], shard["sha256"]] for shard in shards]
    return sha256_hex(
        canonical_json({"format_version": FORMAT_VERSION, "recipe": manifest.recipe_hash, "merged": merged})
    )


def _check_free(store: Store, base: Manifest, wanted: Sequence[Merged]) -> None:
    """Refuse where a run has left a plan on the newest version, other than this very compaction's."""
    plan = unpublished_plan(store, base.version, base.copied_from)
    if plan is not None and plan.shards["shard_id"].to_pylist() != [one.shard_id for one in wanted]:
        raise ConfigError(
            f"{store.uri}: a run has planned work that it has not published; finish it with `unlabeled materialize`, "
            "or abandon it with --replan, then compact."
        )


def _made(store: Store, base: Manifest, tables: Tables, wanted: Sequence[Merged]) -> list[Receipt]:
    with tempfile.TemporaryDirectory(prefix="unlabeled-compact-") as spool, ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(lambda one: _receipt(store, base, tables, one, Path(spool)), wanted))


def _receipt(store: Store, base: Manifest, tables: Tables, one: Merged, spool: Path) -> Receipt:
    """Return the receipt of a merged shard; what an earlier attempt has made is used."""
    known = read_receipt(store, one.shard_id)
    if known is not None:
        return known
    split = one.shards[0]["split"]
    receipt = Receipt(
        shard_id=one.shard_id,
        split=split,
        file="",
        sha256="",
        num_bytes=0,
        num_rows=0,
        footer_sha256="",
        footer_num_bytes=0,
        row_groups=(),
        outcomes=_outcomes(tables, one),
        versions=base.codec_versions,
    )
    file = merge(store, base, one.shards, spool / f"{one.shard_id}.parquet")
    if file is not None:
        key = f"data/{split}/{one.shard_id}-{file.sha256[:16]}.parquet"
        try:
            store.create_file(key, file.path)
        except AlreadyExists:
            pass  # the name is the content
        finally:
            file.path.unlink(missing_ok=True)
        receipt = replace(
            receipt,
            file=key,
            sha256=file.sha256,
            num_bytes=file.num_bytes,
            num_rows=file.num_rows,
            footer_sha256=file.footer_sha256,
            footer_num_bytes=file.footer_num_bytes,
            row_groups=file.row_groups,
        )
    return write_receipt(store, receipt)


def _outcomes(tables: Tables, one: Merged) -> tuple[Outcome, ...]:
    rejects = {
        (row["source_key"], row["start"]): {
            "stage": row["stage"],
            "message": row["message"],
            "offset_bytes": row["error_offset_bytes"],
        }
        for row in _of(tables.rejects, one).to_pylist()
    }
    names = ("source_key", "start", "status", "reason", "is_permanent", "sha256", "num_bytes", "etag", "num_examples")
    return tuple(
        Outcome(**row, **rejects.get((row["source_key"], row["start"]), {}))
        for row in _of(tables.parts, one).select(names).to_pylist()
    )


def _of(table: pa.Table, one: Merged) -> pa.Table:
    """Return the rows of the shards that are merged, shard by shard in their order."""
    ids = pa.array([shard["shard_id"] for shard in one.shards], pa.string())
    place = pc.index_in(table["shard_id"], value_set=ids)
    mine = table.filter(pc.is_valid(place))
    order = np.argsort(pc.drop_null(place).to_numpy(), kind="stable")
    return mine.take(order)


def _draft(store: Store, base: Manifest, tables: Tables, wanted: Sequence[Merged]) -> Draft:
    """Return the plan whose shards are the merged ones."""
    generation = base.generation + 1
    own = [_of(tables.parts, one) for one in wanted]
    context = _context(store, [shard["shard_id"] for one in wanted for shard in one.shards])
    rows, parts = [], []
    for ordinal, (one, mine) in enumerate(zip(wanted, own, strict=True)):
        first = one.shards[0]
        rows.append(
            {
                "shard_id": one.shard_id,
                "generation": generation,
                "ordinal": ordinal,
                "split": first["split"],
                "attempt": first["attempt"],
                "num_parts": mine.num_rows,
                "estimated_num_bytes": sum(shard["num_bytes"] for shard in one.shards),
            }
        )
        lent = [table for shard in one.shards for table in context.get(shard["shard_id"], ())]
        parts.append(_plan_parts(lent, mine, ordinal))
    dropped = sorted(shard["shard_id"] for one in wanted for shard in one.shards)
    settled = [table.filter(pc.equal(table["generation"], SETTLED)) for table in (tables.parts, tables.rejects)]
    return Draft(
        base_version=base.version,
        generation=generation,
        recipe=base.recipe,
        assets=base.assets,
        input_uri=base.input_uri,
        num_skipped_markers=base.counts.num_skipped_markers,
        num_sources=base.counts.num_sources,
        is_rebuild=False,
        shards=Shards.of(pa.Table.from_pylist(rows, SHARDS_SCHEMA), pa.concat_tables(parts).combine_chunks()),
        settled_parts=settled[0],
        settled_rejects=settled[1],
        dropped_shards=dropped,
        removed_parts=REMOVED_SCHEMA.empty_table(),
    )


def _plan_parts(context: Sequence[pa.Table], own: pa.Table, ordinal: int) -> pa.Table:
    """Return a merged shard's parts (PARTS_SCHEMA): what was read as context and is not its own, then its own."""
    own = own.append_column("is_context", pa.array(np.zeros(own.num_rows, bool)))
    names = PARTS_SCHEMA.names[1:]
    lent = pa.concat_tables([PARTS_SCHEMA.empty_table(), *context]).select(names)
    lent = lent.filter(pc.invert(pc.is_in(lent["source_key"], value_set=own["source_key"].combine_chunks())))
    first: dict[str, int] = {}
    for row, key in enumerate(lent["source_key"].to_pylist()):
        first.setdefault(key, row)
    both = pa.concat_tables([lent.take(np.array([*first.values()], np.int64)), own.select(names)])
    return both.add_column(0, PARTS_SCHEMA.field(0), pa.array(np.full(both.num_rows, ordinal, np.int32)))


def _context(store: Store, shard_ids: Sequence[str]) -> dict[str, list[pa.Table]]:
    """Return what shards have read for partners alone, by shard: so that `forget` finds it in the merged ones, too."""
    names = [info.key for page in store.list(_PLANS) for info in page if info.key.endswith(".json")]
    wanted = pa.array(shard_ids, pa.string())
    found: dict[str, list[pa.Table]] = defaultdict(list)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for plan, parts in pool.map(lambda name: _context_of(store, name, wanted), names):
            for index in parts["shard_index"].unique().to_pylist():
                of_shard = parts.filter(pc.equal(parts["shard_index"], index))
                found[plan.shards["shard_id"][index].as_py()].append(of_shard)
    return found


def _context_of(store: Store, name: str, wanted: pa.Array) -> tuple[Plan, pa.Table]:
    """Return a plan and the context parts of those of its shards that are wanted."""
    plan = load_plan(store, name.removeprefix(_PLANS).removesuffix(".json"))
    indexes = np.flatnonzero(pc.is_in(plan.shards["shard_id"], value_set=wanted).to_numpy()).astype(np.int32)
    found = [PARTS_SCHEMA.empty_table()]
    for chunk in plan.header.chunks:
        mine = indexes[(indexes >= chunk.first_shard) & (indexes < chunk.first_shard + chunk.num_shards)]
        if len(mine):
            parts = read_plan_table(store, chunk.sha256)
            is_mine = pc.is_in(parts["shard_index"], value_set=pa.array(mine))
            found.append(parts.filter(pc.and_(is_mine, parts["is_context"])))
    return plan, pa.concat_tables(found)


def _version(
    store: Store, before: tuple[Manifest, Tables], tables: Tables, plan: Plan, epoch: int
) -> tuple[Manifest, Tables]:
    """Return the next version's manifest, and its tables, whose files are written.

    Raises:
        CorruptData: what the dataset holds would be another number of sources or examples.
    """
    base, base_tables = before
    counts = count(tables, base.counts.num_skipped_markers)
    ignored = {"num_shards", "num_bytes"}
    if counts.model_dump(exclude=ignored) != base.counts.model_dump(exclude=ignored):
        raise CorruptData(f"{store.uri}: merged shards would count {counts}, the dataset has {base.counts}.")
    changes = {
        "version": base.version + 1,
        "base_version": base.version,
        "generation": plan.header.generation,
        "writer_token": secrets.token_hex(16),
        "epoch": epoch,
        "copied_from": None,
        "fingerprint": fingerprint(base.recipe, base.typed_features(), tables.shards),
        "plan": plan.name,
        "splits": split_counts(tables.shards),
        "counts": counts,
        "tables": write_tables(store, tables, base, base_tables),
    }
    return base.model_copy(update=changes), tables
