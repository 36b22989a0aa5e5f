"""Versions of a dataset: load, publish. A version is a small JSON file that names everything; nothing else counts.

_manifests/v00000001.json   counts, settings, names and sha256 of tables and assets
_tables/<sha256>.parquet    shards, row groups, parts, rejects: one file a generation and kind
_assets/<sha256>            files that the task froze in version 1
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from .config import FORMAT_VERSION, Recipe, StoreMode
from .errors import AlreadyExists, Conflict, CorruptData, NotFound, nearest
from .features import Features
from .ledger import checked_json, with_digest
from .rendering import Rendering
from .rng import canonical_json, sha256_hex
from .serial_arrow import ParquetReader
from .storage import Store

_MANIFESTS = "_manifests/"
#: Tables that are read at once: each increment has left one of every kind.
_NUM_READERS = 16
#: Generation of parts that no shard holds: rejected at listing, filtered while planning. Written anew every version.
SETTLED = 0

SHARDS = pa.schema(
    [
        pa.field("shard_id", pa.string()),
        pa.field("generation", pa.int32()),
        pa.field("ordinal", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("file", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("num_rows", pa.int64()),
        pa.field("footer_sha256", pa.string()),
        pa.field("footer_num_bytes", pa.int64()),
    ]
)
ROW_GROUPS = pa.schema(
    [
        pa.field("generation", pa.int32()),
        pa.field("ordinal", pa.int32()),
        pa.field("shard_id", pa.string()),
        pa.field("row_group", pa.int32()),
        pa.field("num_rows", pa.int64()),
        pa.field("offset_bytes", pa.int64()),
        pa.field("num_bytes", pa.int64()),
    ]
)
PARTS = pa.schema(
    [
        pa.field("generation", pa.int32()),
        pa.field("ordinal", pa.int32()),
        pa.field("shard_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("source_key", pa.string()),
        pa.field("group_id", pa.string()),
        pa.field("content_version", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("is_permanent", pa.bool_()),
        pa.field("sha256", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("object_key", pa.string()),
        pa.field("offset_bytes", pa.int64()),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("unit", pa.string()),
        pa.field("num_examples", pa.int64()),
    ]
)
REJECTS = pa.schema(
    [
        pa.field("generation", pa.int32()),
        pa.field("ordinal", pa.int32()),
        pa.field("shard_id", pa.string()),
        pa.field("source_key", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("is_permanent", pa.bool_()),
        pa.field("message", pa.string()),
        pa.field("error_offset_bytes", pa.int64()),
        pa.field("attempt", pa.int32()),
    ]
)
TABLE_SCHEMAS: Mapping[str, pa.Schema] = {
    "shards": SHARDS,
    "row_groups": ROW_GROUPS,
    "parts": PARTS,
    "rejects": REJECTS,
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableFile(_Record):
    """One table file: its content is its name."""

    kind: str
    generation: int
    sha256: str
    num_bytes: int
    num_rows: int


class SplitCounts(_Record):
    """What one split holds."""

    num_shards: int
    num_examples: int
    num_bytes: int


class Counts(_Record):
    """Over the whole dataset. num_sources = num_used + num_filtered + num_rejected."""

    num_sources: int
    num_used: int
    num_filtered: int
    num_rejected: int
    num_examples: int
    num_shards: int
    num_bytes: int
    num_skipped_markers: int
    rejected_by_reason: dict[str, int]
    filtered_by_reason: dict[str, int]


class Manifest(_Record):
    """One version of a dataset: the only contract between the pipeline and what reads its datasets."""

    version: int
    base_version: int
    generation: int
    writer_token: str
    epoch: int = 0
    #: Set where a run took over from one that showed no life: the version whose content this is, under a new number.
    copied_from: int | None = None
    fingerprint: str
    task: str
    modality: str
    objective: str
    features: list[dict[str, Any]]
    recipe: Recipe
    recipe_hash: str
    assets: dict[str, str]
    store: StoreMode = "pixels"
    #: How examples are made of the rows, where these hold recipes: rendering.Rendering as JSON.
    rendering: dict[str, Any] | None = None
    batching: Literal["together", "apart", "any"]
    bundle_size: int
    input_uri: str
    plan: str
    splits: dict[str, SplitCounts]
    counts: Counts
    tables: list[TableFile]
    codec_versions: dict[str, str]

    def to_json(self) -> bytes:
        """Return the manifest as JSON with its own digest."""
        return with_digest({"format_version": FORMAT_VERSION, **self.model_dump(mode="json")})

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Manifest:
        """Return the manifest that `to_json` wrote.

        Raises:
            CorruptData: naming `name`, where digest, version or fields are not right.
        """
        body = checked_json(data, name)
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise CorruptData(f"{name}: not a manifest of this version: {error.errors()[0]}.") from error

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier releases do not know where it says nothing."""
        data: dict[str, Any] = handler(self)
        if data.get("rendering") is None:
            data.pop("rendering", None)
        return data

    def typed_features(self) -> Features:
        """Return the columns of the dataset's rows, envelope included."""
        return Features.from_json(self.features)

    def typed_rendering(self) -> Rendering | None:
        """Return how examples are made of the rows; None where rows are examples.

        Raises:
            ConfigError: by a function that this release does not know.
        """
        return None if self.rendering is None else Rendering.from_json(self.rendering)

    def seen_features(self) -> Features:
        """Return the columns of the examples: those of the rows, but for what is made of them at load."""
        stored, rendering = self.typed_features(), self.typed_rendering()
        return stored if rendering is None else rendering.seen(stored)


@dataclass(frozen=True)
class Tables:
    """A version's tables, whole: each has its schema of TABLE_SCHEMAS; shards stand in plan order."""

    shards: pa.Table = field(default_factory=SHARDS.empty_table)
    row_groups: pa.Table = field(default_factory=ROW_GROUPS.empty_table)
    parts: pa.Table = field(default_factory=PARTS.empty_table)
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)


def manifest_key(version: int) -> str:
    """Return the key of a version's manifest."""
    return f"{_MANIFESTS}v{version:08d}.json"


def versions(store: Store) -> list[int]:
    """Return the numbers of all published versions, ascending; empty where there is no dataset."""
    names = (info.key.removeprefix(_MANIFESTS) for page in store.list(_MANIFESTS) for info in page)
    return sorted(int(name[1:9]) for name in names if len(name) == 14 and name[1:9].isdigit())


def load_manifest(store: Store, version: int | None = None) -> Manifest | None:
    """Return one version, or the newest; None where nothing has been published yet.

    Raises:
        CorruptData: the manifest is damaged or of another format version.
        NotFound: there is no such version.
    """
    if version is None:
        published = versions(store)
        if not published:
            return None
        version = published[-1]
    key = manifest_key(version)
    try:
        return Manifest.from_json(store.get(key), key)
    except NotFound:
        raise NotFound(f"{store.uri}: there is no version {version}; it has {versions(store)}.") from None


def require_manifest(store: Store, version: int | None = None) -> Manifest:
    """Return one version, or the newest.

    Raises:
        NotFound: nothing has been published under the store's address.
    """
    manifest = load_manifest(store, version)
    if manifest is None:
        raise NotFound(f"{store.uri}: no dataset stands here (no version is published).")
    return manifest


def load_tables(store: Store, manifest: Manifest, *kinds: str) -> Tables:
    """Return the tables of a version (all kinds, or the ones named), each file checked against its sha256.

    Raises:
        CorruptData: naming the file whose bytes are not what the manifest says.
    """
    for kind in kinds:
        if kind not in TABLE_SCHEMAS:
            raise KeyError(kind + nearest(kind, TABLE_SCHEMAS))
    wanted = kinds or tuple(TABLE_SCHEMAS)
    files = sorted((file for file in manifest.tables if file.kind in wanted), key=lambda file: file.generation)
    loaded = {kind: [TABLE_SCHEMAS[kind].empty_table()] for kind in wanted}
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for file, table in zip(files, pool.map(lambda file: read_table(store, file), files), strict=True):
            loaded[file.kind].append(table)
    return Tables(**{kind: pa.concat_tables(tables).combine_chunks() for kind, tables in loaded.items()})


def load_columns(store: Store, manifest: Manifest, kind: str, columns: Sequence[str]) -> pa.Table:
    """Return some columns of one of a version's tables: where it has millions of rows, the others are what is large.

    Raises:
        CorruptData: naming the file whose bytes are not what the manifest says.
    """
    files = sorted((file for file in manifest.tables if file.kind == kind), key=lambda file: file.generation)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        tables = [*pool.map(lambda file: read_table(store, file, columns), files)]
    return pa.concat_tables([TABLE_SCHEMAS[kind].empty_table().select(columns), *tables]).combine_chunks()


def table_key(sha256: str) -> str:
    """Return the key of a table file."""
    return f"_tables/{sha256}.parquet"


def read_table(store: Store, file: TableFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Return one table file, or some columns of it, checked against its sha256 and schema.

    Raises:
        CorruptData: naming the file.
    """
    key = table_key(file.sha256)
    data = store.get(key)
    if sha256_hex(data) != file.sha256:
        raise CorruptData(f"{key}: its bytes do not match its name; the file is damaged.")
    reader = ParquetReader(data)
    if not reader.schema_arrow.equals(TABLE_SCHEMAS[file.kind]):
        raise CorruptData(f"{key}: not a {file.kind} table of this version.")
    return reader.read(columns)


def read_asset(store: Store, sha256: str) -> bytes:
    """Return one of a version's `assets`, checked against its name.

    Raises:
        CorruptData: naming the file.
    """
    data = store.get(f"_assets/{sha256}")
    if sha256_hex(data) != sha256:
        raise CorruptData(f"_assets/{sha256}: its bytes do not match its name; the file is damaged.")
    return data


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file: the same table always gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3, write_page_checksum=True)
    return sink.getvalue()


def create_content(store: Store, key: str, data: bytes) -> None:
    """Create a file whose name is its content; one that is there already is the same."""
    try:
        store.create(key, data)
    except AlreadyExists:
        return


def write_tables(
    store: Store, tables: Tables, base: Manifest | None, base_tables: Tables | None = None
) -> list[TableFile]:
    """Write what `base` does not name yet, one file a generation and kind, and return all files of the version.

    Args:
        store: of the dataset.
        tables: of the version.
        base: the version before.
        base_tables: its tables: a generation that is as it was keeps its file and is not even encoded again.
    """
    files = []
    for kind in TABLE_SCHEMAS:
        known = {file.generation: file for file in base.tables if file.kind == kind} if base else {}
        before = _by_generation(getattr(base_tables, kind)) if base_tables is not None else {}
        for generation, table in _by_generation(getattr(tables, kind)).items():
            file = known.get(generation)
            if file is None or generation not in before or not table.equals(before[generation]):
                data = parquet_bytes(table)
                digest = sha256_hex(data)
                is_known = file is not None and file.sha256 == digest
                file = TableFile(
                    kind=kind, generation=generation, sha256=digest, num_bytes=len(data), num_rows=table.num_rows
                )
                if not is_known:
                    create_content(store, table_key(digest), data)
            files.append(file)
    return files


def _by_generation(table: pa.Table) -> dict[int, pa.Table]:
    """Return the rows of each generation, ascending; a table stands in the order of generations."""
    generations = table["generation"].to_numpy()
    if (np.diff(generations) < 0).any():
        raise ValueError("the rows are not in the order of their generations")
    first = np.flatnonzero(np.diff(generations, prepend=-1))
    counts = np.diff(first, append=len(generations)).tolist()
    return {
        int(generations[start]): table.slice(start, num_rows).combine_chunks()
        for start, num_rows in zip(first.tolist(), counts, strict=True)
    }


def fingerprint(recipe: Recipe, features: Features, shards: pa.Table) -> str:
    """Return the sha256 over task, settings, features and (split, shard sha256) in plan order, 64 hex digits."""
    rows = [
        [split, sha256]
        for split, sha256 in zip(shards["split"].to_pylist(), shards["sha256"].to_pylist(), strict=True)
        if sha256
    ]
    body = {"recipe": recipe.model_dump(mode="json"), "features": features.to_json(), "shards": rows}
    return sha256_hex(canonical_json(body))


def count(tables: Tables, num_skipped_markers: int) -> Counts:
    """Return the counts of a version; parts add up by construction of `status`.

    Raises:
        CorruptData: a part has no known status.
    """
    parts = tables.parts
    by_status = Counter(parts["status"].to_pylist())
    if set(by_status) - {"used", "filtered", "rejected"}:
        raise CorruptData(f"parts with unknown status: {sorted(set(by_status) - {'used', 'filtered', 'rejected'})}.")
    return Counts(
        num_sources=parts.num_rows,
        num_used=by_status["used"],
        num_filtered=by_status["filtered"],
        num_rejected=by_status["rejected"],
        num_examples=_total(tables.shards["num_rows"]),
        num_shards=sum(1 for name in tables.shards["file"].to_pylist() if name),
        num_bytes=_total(tables.shards["num_bytes"]),
        num_skipped_markers=num_skipped_markers,
        rejected_by_reason=_by_reason(parts, "rejected"),
        filtered_by_reason=_by_reason(parts, "filtered"),
    )


def split_counts(shards: pa.Table) -> dict[str, SplitCounts]:
    """Return what each split holds, by its name."""
    counts = {}
    for split in ("train", "val"):
        mine = shards.filter(pc.equal(shards["split"], split))
        num_shards = sum(1 for name in mine["file"].to_pylist() if name)
        counts[split] = SplitCounts(
            num_shards=num_shards, num_examples=_total(mine["num_rows"]), num_bytes=_total(mine["num_bytes"])
        )
    return counts


def publish(store: Store, manifest: Manifest) -> None:
    """Create the version: from here on it is the dataset.

    A create whose reply was lost is reported as taken although it is ours, so the token in it decides.

    Raises:
        Conflict: another writer published this version first; nothing of theirs was touched.
    """
    key = manifest_key(manifest.version)
    try:
        store.create(key, manifest.to_json())
    except AlreadyExists:
        winner = Manifest.from_json(store.get(key), key)
        if winner.writer_token != manifest.writer_token:
            raise Conflict(
                f"{store.uri}: another writer published version {manifest.version} first; nothing was lost. "
                "Run the same command again to go on from there."
            ) from None


def files_of(tables: Tables, split: str | None = None) -> list[str]:
    """Return the keys of the version's shard files in plan order, of one split or of all."""
    rows: Iterable[tuple[str, str]] = zip(
        tables.shards["file"].to_pylist(), tables.shards["split"].to_pylist(), strict=True
    )
    return [name for name, of in rows if name and split in (None, of)]


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _by_reason(parts: pa.Table, status: str) -> dict[str, int]:
    reasons = parts.filter(pc.equal(parts["status"], status))["reason"].to_pylist()
    return dict(sorted(Counter(reasons).items()))
