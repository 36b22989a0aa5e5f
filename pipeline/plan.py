"""The plan of a run: which sources go into which shard. A pure function of the inventory, the recipe and the base.

Sources stand in the order of sha256(unit), so that a shard is a fair sample; shards are cut by weight at the same
relative places for every task (a power of two of them), so that several tasks over one input share their decodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .config import FORMAT_VERSION, Recipe, ShardSettings
from .groups import SPLITS, GroupOf, splits_of
from .parts import shares_num_bytes
from .rng import canonical_json, sha256_hex
from .serial_arrow import taken
from .task import PretextTask

#: How often a source whose reject is transient is tried again by later runs before that counts as its fate.
MAX_ATTEMPTS = 3

_STRINGS_AT_ONCE = 1 << 16

#: One row a part, in the order in which a shard reads them.
PART_FIELDS = [
    pa.field("source_key", pa.string()),
    pa.field("group_id", pa.string()),
    # "" for content as first read; the sha256 that is expected where an object has changed since.
    pa.field("content_version", pa.string()),
    # Bounds of the part in microseconds or bytes; (0, -1) is the whole source.
    pa.field("start", pa.int64()),
    pa.field("end", pa.int64()),
    # Decoded for partners only; gives no examples.
    pa.field("is_context", pa.bool_()),
    pa.field("num_bytes", pa.int64()),
    pa.field("etag", pa.string()),
    pa.field("object_key", pa.string()),
    pa.field("offset_bytes", pa.int64()),
    pa.field("row_group", pa.int32()),
    pa.field("row", pa.int64()),
    pa.field("unit", pa.string()),
]
PARTS_SCHEMA = pa.schema([pa.field("shard_index", pa.int32()), *PART_FIELDS])
SHARDS_SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string()),
        pa.field("generation", pa.int32()),
        pa.field("ordinal", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("num_parts", pa.int32()),
        pa.field("estimated_num_bytes", pa.int64()),
    ]
)
IDENTITY_COLUMNS = ("source_key", "content_version", "group_id", "start", "end", "is_context")


@dataclass(frozen=True)
class Picks:
    """The parts of some shards: which rows of a table. The rows are copied when they are asked for, few at a time.

    sources: PART_FIELDS, in any order.
    rows: of `sources` in reading order, shard after shard, int64.
    bounds: where in `rows` each shard begins, and the last one ends, int64 [num_shards + 1].
    """

    sources: pa.Table
    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def parts(self, first: int, until: int, offset: int) -> pa.Table:
        """Return the parts of shards [first, until) (PARTS_SCHEMA), which are numbered from `offset` + first."""
        bounds = self.bounds[first : until + 1]
        table = taken(self.sources, pa.array(self.rows[bounds[0] : bounds[-1]]))
        index = np.repeat(np.arange(first, until), np.diff(bounds)) + offset
        return table.add_column(0, PARTS_SCHEMA.field(0), pa.array(index, pa.int32()))


@dataclass(frozen=True)
class Shards:
    """Planned shards (SHARDS_SCHEMA) and their parts, each of `picks` those of the next few shards."""

    shards: pa.Table
    picks: tuple[Picks, ...]

    def __len__(self) -> int:
        return int(self.shards.num_rows)

    @property
    def parts(self) -> pa.Table:
        """The parts of all shards (PARTS_SCHEMA), sorted by shard_index: a copy."""
        tables, offset = [PARTS_SCHEMA.empty_table()], 0
        for picks in self.picks:
            tables.append(picks.parts(0, len(picks), offset))
            offset += len(picks)
        return pa.concat_tables(tables).combine_chunks()

    def parts_of(self, shard_index: int) -> pa.Table:
        """Return the parts of one shard, in reading order."""
        offset = 0
        for picks in self.picks:
            if shard_index < offset + len(picks):
                return picks.parts(shard_index - offset, shard_index - offset + 1, offset)
            offset += len(picks)
        raise IndexError(f"there are {len(self)} shards, none is {shard_index}")

    @classmethod
    def of(cls, shards: pa.Table, parts: pa.Table) -> Shards:
        """Return shards whose parts stand in a table (PARTS_SCHEMA) sorted by shard_index."""
        index = parts["shard_index"].to_numpy()
        bounds = np.searchsorted(index, np.arange(shards.num_rows + 1))
        return cls(shards, (Picks(parts.drop_columns(["shard_index"]), np.arange(parts.num_rows), bounds),))

    @classmethod
    def concat(cls, many: Iterable[Shards]) -> Shards:
        """Return all shards in one, renumbered in order."""
        every = [*many]
        shards = pa.concat_tables([SHARDS_SCHEMA.empty_table(), *(one.shards for one in every)])
        return cls(shards.combine_chunks(), tuple(picks for one in every for picks in one.picks))


def weight_of(modality: str, num_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each source's weight, int64: what shards are cut by; depends on the kind of media, never on the task."""
    if modality == "image":
        return np.ones_like(num_bytes)
    return np.minimum(num_bytes, 64 * 2**20) + 16 * 2**10


def pack(
    sources: pa.Table, task: PretextTask[Any], recipe: Recipe, group_of: GroupOf, *, generation: int, attempt: int = 0
) -> Shards:
    """Return shards for new `sources` (inventory columns), without ids; an empty table gives none."""
    if sources.num_rows == 0:
        return Shards.concat([])
    groups = _groups(sources["source_key"], group_of)
    split_of = np.concatenate(
        [
            np.array([SPLITS.index(split) for split in splits_of(some, recipe.val_fraction, recipe.seed)], np.int8)
            for some in _lists(groups)
        ]
    )
    order = _plan_order(sources)
    num_bytes = shares_num_bytes(sources)
    weight = weight_of(task.modality, num_bytes)
    estimate_num_bytes = task.estimate_recipe_num_bytes if recipe.store == "recipe" else task.estimate_num_bytes
    sizes, size_of_row = np.unique(num_bytes, return_inverse=True)
    estimate = np.array([estimate_num_bytes(size) for size in sizes.tolist()], np.int64)[size_of_row]
    total = int(estimate.sum())
    num_shards = _power_of_two(_wanted_shards(recipe.shard, total))
    parts = _part_columns(sources, groups)
    packed = []
    for number, split in enumerate(SPLITS):
        rows = order[split_of[order] == number]
        if len(rows):
            share = int(estimate[rows].sum()) / max(1, total)
            cut = _cut(weight[rows], _power_of_two(max(1, round(num_shards * share))))
            packed.append(_shards(parts, rows, cut, estimate[rows], (split, generation, attempt)))
    return Shards.concat(packed)


def in_plan_order(sources: pa.Table) -> pa.Table:
    """Return `sources` by sha256(unit), place in the unit, source_key and start: the same order for every listing."""
    return taken(sources, pa.array(_plan_order(sources)))


def _plan_order(sources: pa.Table) -> NDArray[np.int64]:
    """Return the rows of `sources` in plan order."""
    digests = bytearray()
    for units in _lists(sources["unit"]):
        digests += b"".join(hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest() for unit in units)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), sources.num_rows, [None, pa.py_buffer(digests)])
    columns = ["offset_bytes", "row", "source_key", "start"]
    keyed = sources.select(columns).add_column(0, "_digest", column)
    order = pc.sort_indices(keyed, sort_keys=[(name, "ascending") for name in ("_digest", *columns)])
    return np.asarray(order.to_numpy(), np.int64)


def _groups(keys: pa.ChunkedArray, group_of: GroupOf) -> pa.ChunkedArray:
    """Return the group of every key; where each is its own, `keys`, so that they are not held twice."""
    groups, is_own = [], True
    for some in _lists(keys):
        of_some = [group_of(key) for key in some]
        is_own = is_own and of_some == some
        groups.append(pa.array(of_some, pa.string()))
    return keys if is_own else pa.chunked_array(groups, pa.string())


def _lists(column: pa.ChunkedArray) -> Iterator[list[str]]:
    """Yield the strings of a column of millions, few of them as Python objects at once."""
    for chunk in column.chunks:
        for first in range(0, len(chunk), _STRINGS_AT_ONCE):
            yield chunk.slice(first, _STRINGS_AT_ONCE).to_pylist()


def with_ids(shards: Shards, recipe: Recipe, assets: Mapping[str, str]) -> Shards:
    """Return the shards with their ids: the sha256 of everything that decides their bytes."""
    ids = []
    for index, (split, attempt) in enumerate(
        zip(shards.shards["split"].to_pylist(), shards.shards["attempt"].to_pylist(), strict=True)
    ):
        parts = shards.parts_of(index).select(list(IDENTITY_COLUMNS))
        ids.append(
            shard_id(
                recipe,
                assets,
                split,
                attempt,
                zip(*(parts[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True),
            )
        )
    column = SHARDS_SCHEMA.get_field_index("shard_id")
    return replace(shards, shards=shards.shards.set_column(column, "shard_id", pa.array(ids, pa.string())))


def shard_id(
    recipe: Recipe, assets: Mapping[str, str], split: str, attempt: int, parts: Iterable[tuple[Any, ...]]
) -> str:
    """Return the sha256 of a shard's canonical plan row; `parts` are tuples of IDENTITY_COLUMNS."""
    row = {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.hash,
        "assets": dict(assets),
        "split": split,
        "attempt": attempt,
        "parts": [list(part) for part in parts],
    }
    return sha256_hex(canonical_json(row))


def with_context(shards: Shards, num_partners: int, lenders: pa.Table) -> Shards:
    """Return the shards with context sources added where a shard holds too few groups for partners.

    Args:
        shards: planned shards, without ids.
        num_partners: how many partners from other groups an example needs.
        lenders: parts (PART_FIELDS and `split`) that may be read as context: the whole dataset's, in plan order.
    """
    if num_partners == 0 or len(shards) == 0:
        return shards
    by_split = {split: lenders.filter(pc.equal(lenders["split"], split)) for split in SPLITS}
    groups = {split: rows["group_id"].to_pylist() for split, rows in by_split.items()}
    known = {split: set(of_split) for split, of_split in groups.items()}
    added = []
    for index, split in enumerate(shards.shards["split"].to_pylist()):
        own = set(shards.parts_of(index)["group_id"].to_pylist())
        num_wanted = num_partners + 1
        if len(own) < num_wanted:
            num_wanted = min(num_wanted, len(own | known[split]))
        added.append(_context_parts(own, num_wanted, by_split[split], groups[split], index))
    # Context comes first in a shard: its offers are there when the first example wants them.
    parts = pa.concat_tables([*added, shards.parts])
    order = np.argsort(parts["shard_index"].to_numpy(), kind="stable")
    return Shards.of(shards.shards, parts.take(order).combine_chunks())


def _context_parts(own: set[str], num_wanted: int, lenders: pa.Table, groups: Sequence[str], index: int) -> pa.Table:
    """Return parts of `lenders` such that the shard has `num_wanted` groups in all; `groups` are the lenders'."""
    rows: list[int] = []
    start = int(sha256_hex(canonical_json(sorted(own)))[:8], 16) % max(1, len(groups))
    for step in range(len(groups)):
        if len(own) >= num_wanted:
            break
        row = (start + step) % len(groups)
        if groups[row] not in own:
            own.add(groups[row])
            rows.append(row)
    taken = lenders.take(np.array(rows, np.int64)).select([field.name for field in PART_FIELDS])
    # In plan order, so that shards which are made together can read one another's context in one order.
    taken = in_plan_order(taken)
    taken = taken.set_column(5, "is_context", pa.array([True] * len(rows), pa.bool_()))
    return taken.add_column(0, PARTS_SCHEMA.field(0), pa.array([index] * len(rows), pa.int32())).cast(PARTS_SCHEMA)


def part_rows(sources: pa.Table, groups: Iterable[str], shard_index: NDArray[np.int64]) -> pa.Table:
    """Return `sources` (inventory columns, optionally content_version) as rows of PARTS_SCHEMA."""
    parts = _part_columns(sources, pa.array(groups, pa.string()))
    return parts.add_column(0, PARTS_SCHEMA.field(0), pa.array(shard_index, pa.int32()))


def _part_columns(sources: pa.Table, groups: pa.Array | pa.ChunkedArray) -> pa.Table:
    num_rows = sources.num_rows
    defaults = {
        "group_id": groups,
        "content_version": pa.repeat("", num_rows),
        "is_context": pa.array(np.zeros(num_rows, bool)),
    }
    columns = [
        sources[field.name] if field.name in sources.column_names else defaults[field.name] for field in PART_FIELDS
    ]
    return pa.table(columns, schema=pa.schema(PART_FIELDS))


def _shards(
    parts: pa.Table,
    rows: NDArray[np.int64],
    cut: NDArray[np.int64],
    estimate: NDArray[np.int64],
    of: tuple[str, int, int],
) -> Shards:
    """Return the shards that `rows` of `parts` (PART_FIELDS) make; `cut` and `estimate` are of each row."""
    split, generation, attempt = of
    ordinals, first, counts = np.unique(cut, return_index=True, return_counts=True)
    table = pa.table(
        {
            "shard_id": pa.array([""] * len(ordinals), pa.string()),
            "generation": np.full(len(ordinals), generation, np.int32),
            "ordinal": ordinals.astype(np.int32),
            "split": [split] * len(ordinals),
            "attempt": np.full(len(ordinals), attempt, np.int32),
            "num_parts": counts.astype(np.int32),
            "estimated_num_bytes": np.add.reduceat(estimate, first),
        },
        schema=SHARDS_SCHEMA,
    )
    return Shards(table, (Picks(parts, rows, np.append(first, len(rows))),))


def _wanted_shards(settings: ShardSettings, total_num_bytes: int) -> int:
    at_least = -(-total_num_bytes // settings.target_num_bytes)
    spread = min(settings.spread_num_shards, total_num_bytes // settings.spread_min_num_bytes)
    return max(1, at_least, spread)


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _cut(weight: NDArray[np.int64], num_shards: int) -> NDArray[np.int64]:
    """Return each source's shard, ascending: where its weight begins, as a share of the whole, times num_shards."""
    before = np.cumsum(weight) - weight
    # Python integers: weights of 1e9 sources times shards overflow 64 bits.
    total = int(weight.sum())
    if total * num_shards < 2**62:
        return before * num_shards // total
    return np.array([int(place) * num_shards // total for place in before], np.int64)


def rows_by_shard(shards: Shards) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """Yield (shard row, its parts) in plan order."""
    for index, row in enumerate(shards.shards.to_pylist()):
        yield row, shards.parts_of(index)
