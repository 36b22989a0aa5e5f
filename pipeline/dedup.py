"""Near-duplicate groups for a plan: fingerprints taken where they are missing, copies found, groups assigned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from .fingerprint_store import matched, read_fingerprints, save_fingerprints
from .fingerprinting import find_copies, kind_of
from .grouping import Copies, Grouping, Recorded, assign
from .groups import GroupOf
from .inventory import Inventory
from .manifest import SETTLED, Tables
from .parts import whole_sources
from .rng import sha256_hex
from .shard import Target
from .storage import Store

#: Takes the fingerprints of sources (inventory columns) somewhere, and yields them as FINGERPRINTS_SCHEMA.
Fingerprinter = Callable[[Target, pa.Table], Iterable[pa.Table]]


def grouping_of(
    target: Target,
    inventory: Inventory,
    base: Tables,
    group_of: GroupOf,
    take: Fingerprinter | None,
    siblings: Sequence[Store] = (),
) -> Grouping:
    """Return the groups of what the inventory lists, as the recipe's `dedup` says.

    Args:
        target: the dataset; fingerprints are kept in its store.
        inventory: what is listed.
        base: tables of the base version.
        group_of: the group of a key without regard to copies.
        take: takes the fingerprints that are missing; None for a look ahead, which knows only those that are kept.
        siblings: stores of datasets that are made together with this one; what they keep is taken over.
    """
    recipe = target.recipe
    if recipe.dedup == "off":
        return Grouping(group_of)
    if not recipe.group_by and not recipe.group_csv_sha256:
        group_of = hashed_key
    sources = whole_sources(inventory.sources)
    recorded = _recorded(base)
    changed, nothing_new = _compared(sources, base)
    if nothing_new:
        columns = (settled_filtered(base)[name].to_pylist() for name in ("source_key", "reason"))
        return replace(assign(Copies(), group_of, recorded), filtered=dict(zip(*columns, strict=True)))
    kind = kind_of(target.task.modality, recipe)
    fingerprints, lack = matched(sources, read_fingerprints(target.store), kind)
    for sibling in siblings:
        found, lack = matched(lack, read_fingerprints(sibling), kind)
        save_fingerprints(target.store, found)
        fingerprints = pa.concat_tables([fingerprints, found])
    if take is not None and lack.num_rows:
        for table in take(target, lack):
            save_fingerprints(target.store, table)
            fingerprints = pa.concat_tables([fingerprints, table])
    copies = find_copies(fingerprints, target.task.modality)
    return assign(copies, group_of, recorded, changed=changed, keeps_one=recipe.dedup == "drop")


def hashed_key(key: str) -> str:
    """Return the group of a key by itself: no key, for copies share it and it may have to be forgotten."""
    return sha256_hex(key.encode("utf-8", "surrogatepass"))[:16]


def settled_filtered(base: Tables) -> pa.Table:
    """Return the parts that an earlier version filtered while planning."""
    parts = base.parts
    is_settled = pc.equal(parts["generation"], SETTLED)
    return parts.filter(pc.and_(is_settled, pc.equal(parts["status"], "filtered")))


def _recorded(base: Tables) -> dict[str, Recorded]:
    held = base.parts.filter(pc.not_equal(base.parts["generation"], SETTLED))
    columns = (held[name].to_pylist() for name in ("source_key", "group_id", "split"))
    return {key: Recorded(group_id, split) for key, group_id, split in zip(*columns, strict=True)}


def _compared(sources: pa.Table, base: Tables) -> tuple[frozenset[str], bool]:
    """Return (recorded keys whose etag or size is another one now, whether all is as the base lists it)."""
    names = ("source_key", "etag", "num_bytes")
    of_parts = pa.concat_tables(
        [base.parts.filter(pc.not_equal(base.parts["generation"], SETTLED)), settled_filtered(base)]
    )
    before = {key: hint for key, *hint in zip(*(of_parts[name].to_pylist() for name in names), strict=True)}
    now = {key: hint for key, *hint in zip(*(sources[name].to_pylist() for name in names), strict=True)}
    changed = frozenset(key for key, hint in now.items() if key in before and before[key] != hint)
    return changed, not changed and before.keys() == now.keys()
