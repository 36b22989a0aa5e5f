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
from .external_sort import ExternalSort
from .groups import SPLITS, GroupOf, splits_of
from .parts import shares_num_bytes
from .rng import canonical_json, sha256_hex
from .serial_arrow import sorted_by
from .task import PretextTask

#: How often a source whose reject is transient is tried again by later runs before that counts as its fate.
MAX_ATTEMPTS = 3

_ROWS_AT_ONCE = 1 << 16

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
_PLAN_ORDER = ("_digest", "offset_bytes", "row", "source_key", "start")
#: Parts with what orders and cuts them.
_WEIGHED_SCHEMA = pa.schema(
    [
        *PART_FIELDS,
        pa.field("_digest", pa.binary(32)),
        pa.field("_weight", pa.int64()),
        pa.field("_estimate", pa.int64()),
    ]
)
IDENTITY_COLUMNS = ("source_key", "content_version", "group_id", "start", "end", "is_context")


@dataclass(frozen=True)
class Run:
    """The parts of some shards, shard after shard.

    rows: PART_FIELDS, in reading order; may be mapped from a file.
    bounds: where in `rows` each shard begins, and the last one ends, int64 [num_shards + 1].
    """

    rows: pa.Table
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def parts(self, first: int, until: int, offset: int) -> pa.Table:
        """Return the parts of shards [first, until) (PARTS_SCHEMA), which are numbered from `offset` + first."""
        bounds = self.bounds[first : until + 1]
        table = self.rows.slice(bounds[0], bounds[-1] - bounds[0]).combine_chunks()
        index = np.repeat(np.arange(first, until), np.diff(bounds)) + offset
        return table.add_column(0, PARTS_SCHEMA.field(0), pa.array(index, pa.int32()))


@dataclass(frozen=True)
class Shards:
    """Planned shards (SHARDS_SCHEMA) and their parts, each of `runs` those of the next few shards."""

    shards: pa.Table
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return int(self.shards.num_rows)

    @property
    def parts(self) -> pa.Table:
        """The parts of all shards (PARTS_SCHEMA), sorted by shard_index: a copy."""
        tables, offset = [PARTS_SCHEMA.empty_table()], 0
        for run in self.runs:
            tables.append(run.parts(0, len(run), offset))
            offset += len(run)
        return pa.concat_tables(tables).combine_chunks()

    @property
    def own_parts(self) -> pa.Table:
        """The parts of all shards (PART_FIELDS) but context; no copy where there is none."""
        rows = pa.concat_tables([pa.schema(PART_FIELDS).empty_table(), *(run.rows for run in self.runs)])
        is_context = rows["is_context"]
        return rows.filter(pc.invert(is_context)) if pc.any(is_context).as_py() else rows

    def parts_of(self, shard_index: int) -> pa.Table:
        """Return the parts of one shard, in reading order."""
        offset = 0
        for run in self.runs:
            if shard_index < offset + len(run):
                return run.parts(shard_index - offset, shard_index - offset + 1, offset)
            offset += len(run)
        raise IndexError(f"there are {len(self)} shards, none is {shard_index}")

    @classmethod
    def of(cls, shards: pa.Table, parts: pa.Table) -> Shards:
        """Return shards whose parts stand in a table (PARTS_SCHEMA) sorted by shard_index."""
        index = parts["shard_index"].to_numpy()
        bounds = np.searchsorted(index, np.arange(shards.num_rows + 1))
        return cls(shards, (Run(parts.drop_columns(["shard_index"]), bounds),))

    @classmethod
    def concat(cls, many: Iterable[Shards]) -> Shards:
        """Return all shards in one, renumbered in order."""
        every = [*many]
        shards = pa.concat_tables([SHARDS_SCHEMA.empty_table(), *(one.shards for one in every)])
        return cls(shards.combine_chunks(), tuple(run for one in every for run in one.runs))


def weight_of(modality: str, num_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each source's weight, int64: what shards are cut by; depends on the kind of media, never on the task."""
    if modality == "image":
        return np.ones_like(num_bytes)
    return np.minimum(num_bytes, 64 * 2**20) + 16 * 2**10


def pack(
    sources: pa.Table, task: PretextTask[Any], recipe: Recipe, group_of: GroupOf, *, generation: int, attempt: int = 0
) -> Shards:
    """Return shards for new `sources` (inventory columns), without ids; an empty table gives none.

    Of many sources, few are in memory at once: they are put in order on local disk.

    Raises:
        UnlabeledError: that disk is full or broken.
    """
    by_split = {split: ExternalSort(_WEIGHED_SCHEMA, _PLAN_ORDER) for split in SPLITS}
    for some in _weighed(sources, task, recipe):
        groups = _groups(some["source_key"], group_of)
        parts = _part_columns(some, groups)
        for name in _WEIGHED_SCHEMA.names[len(PART_FIELDS) :]:
            parts = parts.append_column(name, some[name])
        splits = np.array(splits_of(groups.to_pylist(), recipe.val_fraction, recipe.seed))
        for split, of_split in by_split.items():
            of_split.add(parts.filter(pa.array(splits == split)))
    ordered = {split: of_split.sorted() for split, of_split in by_split.items()}
    estimates = {split: _sum(table["_estimate"]) for split, table in ordered.items()}
    total = sum(estimates.values())
    num_shards = _power_of_two(_wanted_shards(recipe.shard, total))
    packed = []
    for split, table in ordered.items():
        if table.num_rows:
            share = estimates[split] / max(1, total)
            cuts = _power_of_two(max(1, round(num_shards * share)))
            packed.append(_shards(table, cuts, (split, generation, attempt)))
    return Shards.concat(packed)


def _weighed(sources: pa.Table, task: PretextTask[Any], recipe: Recipe) -> Iterator[pa.Table]:
    """Yield `sources`, few at a time, with their digests, weights and estimates of what they give, in bytes."""
    estimate_num_bytes = task.estimate_recipe_num_bytes if recipe.store == "recipe" else task.estimate_num_bytes
    num_bytes = shares_num_bytes(sources)
    for first in range(0, sources.num_rows, _ROWS_AT_ONCE):
        some, of_some = sources.slice(first, _ROWS_AT_ONCE), num_bytes[first : first + _ROWS_AT_ONCE]
        sizes, size_of_row = np.unique(of_some, return_inverse=True)
        estimate = np.array([estimate_num_bytes(size) for size in sizes.tolist()], np.int64)[size_of_row]
        some = some.append_column("_digest", _digests(some["unit"]))
        some = some.append_column("_weight", pa.array(weight_of(task.modality, of_some), pa.int64()))
        yield some.append_column("_estimate", pa.array(estimate, pa.int64()))


def in_plan_order(sources: pa.Table) -> pa.Table:
    """Return `sources` by sha256(unit), place in the unit, source_key and start: the same order for every listing."""
    keyed = sources.append_column("_digest", _digests(sources["unit"]))
    return sorted_by(keyed, *_PLAN_ORDER).drop_columns(["_digest"])


def first_in_plan_order(sources: pa.Table, num_sources: int) -> pa.Table:
    """Return the first sources (or parts) in plan order: a fair sample, the same for every listing."""
    first = sources.slice(0, 0)
    for start in range(0, sources.num_rows, _ROWS_AT_ONCE):
        some = pa.concat_tables([first, sources.slice(start, _ROWS_AT_ONCE)])
        first = in_plan_order(some).slice(0, num_sources)
    return first


def _digests(units: pa.ChunkedArray) -> pa.FixedSizeBinaryArray:
    """Return the sha256 of every unit's name."""
    digests = bytearray()
    for some in units.chunks:
        digests += b"".join(
            hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest() for unit in some.to_pylist()
        )
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(units), [None, pa.py_buffer(digests)])


def _groups(keys: pa.ChunkedArray, group_of: GroupOf) -> pa.Array | pa.ChunkedArray:
    """Return the group of every key; where each is its own, `keys`, so that they are not held twice."""
    of_keys = keys.to_pylist()
    groups = [group_of(key) for key in of_keys]
    return keys if groups == of_keys else pa.array(groups, pa.string())


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


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


def _shards(table: pa.Table, num_shards: int, of: tuple[str, int, int]) -> Shards:
    """Return the shards that `table` (_WEIGHED_SCHEMA, in reading order) is cut into."""
    split, generation, attempt = of
    num_parts, estimated = _cut(table, num_shards)
    ordinals = np.flatnonzero(num_parts)
    shards = pa.table(
        {
            "shard_id": pa.array([""] * len(ordinals), pa.string()),
            "generation": np.full(len(ordinals), generation, np.int32),
            "ordinal": ordinals.astype(np.int32),
            "split": [split] * len(ordinals),
            "attempt": np.full(len(ordinals), attempt, np.int32),
            "num_parts": num_parts[ordinals].astype(np.int32),
            "estimated_num_bytes": estimated[ordinals],
        },
        schema=SHARDS_SCHEMA,
    )
    bounds = np.append(0, np.cumsum(num_parts[ordinals]))
    return Shards(shards, (Run(table.select([field.name for field in PART_FIELDS]), bounds),))


def _wanted_shards(settings: ShardSettings, total_num_bytes: int) -> int:
    at_least = -(-total_num_bytes // settings.target_num_bytes)
    spread = min(settings.spread_num_shards, total_num_bytes // settings.spread_min_num_bytes)
    return max(1, at_least, spread)


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _cut(table: pa.Table, num_shards: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows of `table` go to each of `num_shards` shards, and about how many bytes they give.

    A row's shard is where its weight begins, as a share of the whole, times num_shards.
    """
    num_rows, estimated = np.zeros(num_shards, np.int64), np.zeros(num_shards, np.int64)
    total, before = _sum(table["_weight"]), 0
    for batch in table.select(["_weight", "_estimate"]).to_batches():
        weight, estimate = (column.to_numpy() for column in batch.columns)
        begin = before + np.cumsum(weight) - weight
        before += int(weight.sum())
        if total * num_shards < 2**62:
            shard = begin * num_shards // total
        else:  # Python integers: weights of 1e9 sources times shards overflow 64 bits.
            shard = np.array([int(place) * num_shards // total for place in begin], np.int64)
        np.add.at(num_rows, shard, 1)
        np.add.at(estimated, shard, estimate)
    return num_rows, estimated


def rows_by_shard(shards: Shards) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """Yield (shard row, its parts) in plan order."""
    for index, row in enumerate(shards.shards.to_pylist()):
        yield row, shards.parts_of(index)
