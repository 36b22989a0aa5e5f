"""Plans in the store: immutable, named by their base version and content, written once and read shard by shard.

_plans/v00000000-<id>.json       header: base, recipe, input, names of the tables below
_plans/<sha256>.parquet          parts (a row group a shard), shards, settled parts and rejects, what is dropped
_plans/v00000000-<id>.abandoned  set by --replan: this plan will not be finished
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from .config import FORMAT_VERSION, Recipe
from .errors import CorruptData
from .ledger import checked_json, with_digest
from .manifest import create_content, parquet_bytes
from .parts import part_names
from .plan import PARTS_SCHEMA, Shards
from .rng import sha256_hex
from .serial_arrow import ParquetReader, read_parquet
from .storage import Store

_PLANS = "_plans/"
#: Shards whose parts stand in one file: its footer is read by every worker that takes one of them.
CHUNK_NUM_SHARDS = 256


class Chunk(BaseModel):
    """One file of parts, a row group a shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    first_shard: int
    num_shards: int


class PlanHeader(BaseModel):
    """What a plan says besides its tables. `num_sources` is what the version that it leads to must account for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_version: int
    generation: int
    recipe: Recipe
    assets: dict[str, str]
    input_uri: str
    num_skipped_markers: int
    num_sources: int
    is_rebuild: bool
    shards_sha256: str
    chunks: list[Chunk]
    settled_parts_sha256: str
    settled_rejects_sha256: str
    dropped_shards: list[str]
    removed_parts_sha256: str


@dataclass(frozen=True)
class Plan:
    """A stored plan. `shards` has SHARDS_SCHEMA; parts are read when asked for."""

    name: str
    header: PlanHeader
    shards: pa.Table
    store: Store

    def parts_of(self, shard_index: int) -> pa.Table:
        """Return the parts of one shard in reading order (PARTS_SCHEMA)."""
        return read_parts(self.store, self.chunk_of(shard_index), shard_index)

    def chunk_of(self, shard_index: int) -> Chunk:
        """Return the file that holds the shard's parts."""
        return self.header.chunks[shard_index // CHUNK_NUM_SHARDS]

    def parts(self) -> pa.Table:
        """Return the parts of all shards (PARTS_SCHEMA)."""
        tables = [read_plan_table(self.store, chunk.sha256) for chunk in self.header.chunks]
        return pa.concat_tables([PARTS_SCHEMA.empty_table(), *tables])

    def settled_parts(self) -> pa.Table:
        """Return the parts that need no work: rejected at listing or filtered while planning."""
        return read_plan_table(self.store, self.header.settled_parts_sha256)

    def settled_rejects(self) -> pa.Table:
        """Return the rejects among them."""
        return read_plan_table(self.store, self.header.settled_rejects_sha256)

    def removed_parts(self) -> pa.Table:
        """Return which parts the next version drops (REMOVED_SCHEMA)."""
        return read_plan_table(self.store, self.header.removed_parts_sha256)


@dataclass(frozen=True)
class Draft:
    """What `save_plan` writes: the header's plain fields and the tables."""

    base_version: int
    generation: int
    recipe: Recipe
    assets: dict[str, str]
    input_uri: str
    num_skipped_markers: int
    num_sources: int
    is_rebuild: bool
    shards: Shards
    settled_parts: pa.Table
    settled_rejects: pa.Table
    dropped_shards: Sequence[str]
    removed_parts: pa.Table


def save_plan(store: Store, draft: Draft) -> Plan:
    """Write a plan and return it; writing the same plan again is harmless."""
    chunks = []
    for first in range(0, len(draft.shards), CHUNK_NUM_SHARDS):
        num_shards = min(CHUNK_NUM_SHARDS, len(draft.shards) - first)
        data = _chunk_bytes(draft.shards, range(first, first + num_shards))
        chunks.append(Chunk(sha256=_save(store, data), first_shard=first, num_shards=num_shards))
    header = PlanHeader(
        base_version=draft.base_version,
        generation=draft.generation,
        recipe=draft.recipe,
        assets=draft.assets,
        input_uri=draft.input_uri,
        num_skipped_markers=draft.num_skipped_markers,
        num_sources=draft.num_sources,
        is_rebuild=draft.is_rebuild,
        shards_sha256=_save(store, parquet_bytes(draft.shards.shards)),
        chunks=chunks,
        settled_parts_sha256=_save(store, parquet_bytes(draft.settled_parts)),
        settled_rejects_sha256=_save(store, parquet_bytes(draft.settled_rejects)),
        dropped_shards=list(draft.dropped_shards),
        removed_parts_sha256=_save(store, parquet_bytes(draft.removed_parts)),
    )
    data = with_digest({"format_version": FORMAT_VERSION, **header.model_dump(mode="json")})
    name = f"v{draft.base_version:08d}-{sha256_hex(data)[:32]}"
    create_content(store, f"{_PLANS}{name}.json", data)
    return Plan(name, header, draft.shards.shards, store)


def load_plan(store: Store, name: str) -> Plan:
    """Return a stored plan.

    Raises:
        CorruptData: header or shard table are damaged, naming the file.
    """
    key = f"{_PLANS}{name}.json"
    body = checked_json(store.get(key), key)
    try:
        header = PlanHeader.model_validate(body)
    except ValidationError as error:
        raise CorruptData(f"{key}: not a plan of this version: {error.errors()[0]}.") from error
    return Plan(name, header, read_plan_table(store, header.shards_sha256), store)


def unpublished_plan(store: Store, base_version: int, copied_from: int | None = None) -> Plan | None:
    """Return the oldest plan on `base_version` that was not abandoned, or None: it is to be finished first.

    Valid only while `base_version` is the newest: then no plan on it has been published. Where it is a copy
    (Manifest.copied_from), plans on what it was copied from count: they have the same base under another number.
    """
    first = base_version if copied_from is None else copied_from
    stems = tuple(f"{_PLANS}v{version:08d}-" for version in range(first, base_version + 1))
    found = [info for page in store.list(_PLANS) for info in page if info.key.startswith(stems)]
    abandoned = {info.key.removesuffix(".abandoned") for info in found if info.key.endswith(".abandoned")}
    headers = [
        info for info in found if info.key.endswith(".json") and info.key.removesuffix(".json") not in abandoned
    ]
    if not headers:
        return None
    oldest = min(headers, key=lambda info: (info.last_modified, info.key))
    return load_plan(store, oldest.key.removeprefix(_PLANS).removesuffix(".json"))


def abandon_plan(store: Store, name: str) -> None:
    """Mark a plan as never to be finished; its receipts stay useful to plans with the same shards."""
    create_content(store, f"{_PLANS}{name}.abandoned", b"")


def read_parts(store: Store, chunk: Chunk, shard_index: int) -> pa.Table:
    """Return the parts of one shard from its chunk (PARTS_SCHEMA)."""
    file = ParquetReader(_read(store, chunk.sha256), check_pages=True)
    return file.read_row_group(shard_index - chunk.first_shard)


def read_plan_table(store: Store, sha256: str) -> pa.Table:
    """Return one of a plan's tables, checked against its sha256."""
    return read_parquet(_read(store, sha256))


def _read(store: Store, sha256: str) -> bytes:
    key = f"{_PLANS}{sha256}.parquet"
    data = store.get(key)
    if sha256_hex(data) != sha256:
        raise CorruptData(f"{key}: its bytes do not match its name; the file is damaged.")
    return data


def _save(store: Store, data: bytes) -> str:
    digest = sha256_hex(data)
    create_content(store, f"{_PLANS}{digest}.parquet", data)
    return digest


def _chunk_bytes(shards: Shards, indexes: range) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, PARTS_SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for index in indexes:
            parts = shards.parts_of(index)
            writer.write_table(parts, row_group_size=max(1, parts.num_rows))
    return sink.getvalue()


def drop_parts(parts: pa.Table, dropped_shards: Sequence[str], removed: pa.Table) -> pa.Table:
    """Return a base version's parts (or rejects) without those of dropped shards and the `removed` ones."""
    dropped = pc.is_in(parts["shard_id"], value_set=pa.array(list(dropped_shards), pa.string()))
    is_removed = pc.is_in(part_names(parts), value_set=part_names(removed))
    return parts.filter(pc.invert(pc.or_(dropped, is_removed)))
