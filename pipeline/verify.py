"""Is a dataset what its manifest says? Digests, schemas, counts, identities, splits and balance, from bytes upwards.

Nothing is believed before it is checked: digests before Parquet, the schema before any value, values before sums.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .errors import CorruptData, NotFound
from .features import Features
from .manifest import SETTLED, Manifest, Tables, count, fingerprint, load_tables, require_manifest, split_counts
from .parts import WHOLE
from .rng import ItemRng, sha256_hex
from .serial_arrow import ParquetReader, sorted_by, sums
from .storage import Store

#: A count of one class may be this many standard deviations of a fair draw from the mean.
_MAX_DEVIATIONS = 6.0
#: Problems of one kind in one file that are told one by one.
_MAX_TOLD = 20
#: Labels of such tasks come from the user, who may have as many of a class as there are.
_UNBALANCED_TASKS = frozenset({"labelled_media"})
_PART_COLUMNS = ("source_key", "start", "end", "group_id", "split", "status", "sha256", "num_bytes", "num_examples")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `file`: key of a shard, table or manifest; `row`: in the shard, -1 for the whole."""

    check: str
    message: str
    file: str = ""
    row: int = -1
    source_key: str = ""

    def __str__(self) -> str:
        place = f" row {self.row}" if self.row >= 0 else ""
        return f"{self.file}{place}: {self.message}" if self.file else self.message


@dataclass
class Findings:
    """What a verification has looked at, and what it found."""

    problems: list[Problem] = field(default_factory=list)
    num_files: int = 0
    num_rows: int = 0
    num_bytes: int = 0
    by_label: Counter[int] = field(default_factory=Counter)

    def add(self, check: str, message: str, file: str = "", row: int = -1, source_key: str = "") -> None:
        """Note a problem; of many alike in one file, the first."""
        alike = sum(1 for known in self.problems if (known.check, known.file) == (check, file))
        if alike < _MAX_TOLD:
            self.problems.append(Problem(check, message, file, row, source_key))


def verify(store: Store, version: int | None = None, *, digests: bool = True) -> Findings:
    """Return what is wrong with a version (the newest by default); without problems it is what its manifest says.

    Args:
        store: of the dataset.
        version: number of the version.
        digests: check digests and sizes of files; False looks at the content of files that have been changed.

    Raises:
        NotFound: nothing is published there.
        CorruptData: manifest or tables themselves are damaged, so that nothing can be compared with them.
    """
    manifest = require_manifest(store, version)
    tables = load_tables(store, manifest)
    findings = Findings()
    _check_assets(store, manifest, findings)
    check_counts(manifest, tables, findings)
    check_splits(tables.parts, findings)
    ids: set[str] = set()
    for shard in tables.shards.to_pylist():
        if not shard["file"]:
            continue
        file = open_shard(store, shard, manifest, findings, digests=digests)
        if file is None:
            continue
        findings.num_files += 1
        groups = tables.row_groups.filter(pc.equal(tables.row_groups["shard_id"], shard["shard_id"])).to_pylist()
        _check_row_groups(file, shard, groups, findings)
        _check_rows(file, shard, manifest, tables.parts, ids, findings)
    _check_balance(manifest, findings)
    return findings


def _check_assets(store: Store, manifest: Manifest, findings: Findings) -> None:
    for name, sha256 in manifest.assets.items():
        key = f"_assets/{sha256}"
        try:
            if sha256_hex(store.get(key)) != sha256:
                findings.add("asset", f"asset {name!r}: its bytes do not match its name", key)
        except NotFound:
            findings.add("asset", f"asset {name!r} is missing", key)


def check_counts(manifest: Manifest, tables: Tables, findings: Findings) -> None:
    """Check that parts, shards and row groups add up to what the manifest says."""
    found = count(tables, manifest.counts.num_skipped_markers)
    if found != manifest.counts:
        findings.add("conservation", f"the tables count {found}, the manifest says {manifest.counts}")
    if found.num_sources != found.num_used + found.num_filtered + found.num_rejected:
        findings.add("conservation", "used, filtered and rejected parts are not all parts")
    if split_counts(tables.shards) != manifest.splits:
        findings.add("conservation", "the shards' counts by split are not the manifest's")
    if tables.rejects.num_rows != found.num_rejected:
        findings.add("conservation", f"{found.num_rejected} parts rejected, {tables.rejects.num_rows} rejects listed")
    named = fingerprint(manifest.recipe, manifest.typed_features(), tables.shards)
    # A release that knows more settings reads an older recipe with their defaults, and so with another hash.
    if named != manifest.fingerprint and manifest.recipe.hash == manifest.recipe_hash:
        findings.add("fingerprint", f"the tables' fingerprint is {named}, the manifest says {manifest.fingerprint}")
    rows = sums(tables.row_groups, "shard_id", "num_rows")
    parts = sums(tables.parts, "shard_id", "num_examples")
    for shard in tables.shards.to_pylist():
        for what, totals in (("row groups", rows), ("parts", parts)):
            total = totals.get(shard["shard_id"], 0)
            if total != shard["num_rows"]:
                message = f"its {what} add up to {total} rows, it has {shard['num_rows']}"
                findings.add("conservation", message, shard["file"])


def check_splits(parts: pa.Table, findings: Findings) -> None:
    """Check that no group and no source stands in two splits, and no part twice."""
    held = parts.filter(pc.not_equal(parts["generation"], SETTLED))
    for column in ("group_id", "source_key"):
        splits: dict[str, set[str]] = defaultdict(set)
        for name, split in zip(held[column].to_pylist(), held["split"].to_pylist(), strict=True):
            splits[name].add(split)
        for name, of in splits.items():
            if len(of) > 1:
                findings.add("splits", f"{column} {name!r} stands in {' and '.join(sorted(of))}")
    places = Counter(zip(held["source_key"].to_pylist(), held["start"].to_pylist(), strict=True))
    for (key, start), number in places.items():
        if number > 1:
            findings.add("conservation", f"part {key!r} from {start} stands {number} times", source_key=key)


def open_shard(
    store: Store, shard: Mapping[str, Any], manifest: Manifest, findings: Findings, *, digests: bool = True
) -> ParquetReader | None:
    """Return a shard's file, or None with a problem noted: missing, damaged, or of another schema.

    Reading from it verifies the checksum of every page.
    """
    key = shard["file"]
    try:
        data = store.get(key)
    except NotFound:
        findings.add("file", "is missing", key)
        return None
    findings.num_bytes += len(data)
    if digests and not _has_digests(data, shard, findings):
        return None
    try:
        file = ParquetReader(data, check_pages=True, extensions=False)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        findings.add("parquet", f"not a Parquet file: {str(error)[:200]}", key)
        return None
    wrong = schema_fault(schema, manifest.typed_features())
    if wrong:
        findings.add("schema", wrong, key)
        return None
    return file


def _has_digests(data: bytes, shard: Mapping[str, Any], findings: Findings) -> bool:
    key = shard["file"]
    if len(data) != shard["num_bytes"]:
        findings.add("size", f"has {len(data)} bytes, the manifest says {shard['num_bytes']}", key)
        return False
    is_whole: bool = sha256_hex(data) == shard["sha256"]
    if not is_whole:
        findings.add("digest", "its bytes do not match the sha256 in the manifest", key)
    if sha256_hex(data[len(data) - shard["footer_num_bytes"] :]) != shard["footer_sha256"]:
        findings.add("footer", "its footer does not match the sha256 in the manifest", key)
        return False
    return is_whole


def schema_fault(schema: pa.Schema, features: Features) -> str:
    """Return what is wrong with a shard's schema, "" where it is exactly the features' and of plain types."""
    for column in schema:
        bad = _forbidden(column)
        if bad:
            return f"column {column.name!r} has the type {bad}, which no shard may hold"
    expected = features.arrow_schema()
    if schema.names != expected.names:
        return f"its columns are {schema.names}, the manifest's are {expected.names}"
    for column, wanted in zip(schema, expected, strict=True):
        if not column.type.equals(wanted.type):
            return f"column {column.name!r} is {column.type}, the manifest says {wanted.type}"
    return ""


def _forbidden(column: pa.Field) -> str:
    """Return the name of the first type in a column that is not allowed, "" where all are."""
    if column.metadata and b"ARROW:extension:name" in column.metadata:
        return f"extension {column.metadata[b'ARROW:extension:name'].decode(errors='replace')}"
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return f"extension {kind}"
    if pa.types.is_list(kind):
        return _forbidden(kind.value_field)
    if pa.types.is_struct(kind):
        return next((bad for bad in map(_forbidden, kind) if bad), "")
    plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_binary)
    return "" if any(is_kind(kind) for is_kind in plain) else str(kind)


def _check_row_groups(
    file: ParquetReader, shard: Mapping[str, Any], groups: list[Mapping[str, Any]], findings: Findings
) -> None:
    found = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
    if found != [group["num_rows"] for group in groups] or sum(found) != shard["num_rows"]:
        findings.add("row_groups", f"its row groups have {found} rows, the manifest says otherwise", shard["file"])


def scalar_rows(file: ParquetReader, features: Features) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, envelope and label columns) of a shard; every page of every column is read.

    Raises:
        CorruptData: a page's checksum does not match.
    """
    envelope = [name for name in features.names if name in _SCALARS]
    number = 0
    for index in range(file.metadata.num_row_groups):
        try:
            table = file.read_row_group(index)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptData(f"row group {index}: {str(error)[:200]}") from error
        for row in table.select(envelope).to_pylist():
            yield number, row
            number += 1


_SCALARS = frozenset(
    "label label_name example_id task task_version recipe_hash source_key source_sha256 source_num_bytes group_id "
    "split segment draw seed".split()
)


def _check_rows(
    file: ParquetReader,
    shard: Mapping[str, Any],
    manifest: Manifest,
    all_parts: pa.Table,
    ids: set[str],
    findings: Findings,
) -> None:
    features, recipe = manifest.typed_features(), manifest.recipe
    mine = all_parts.filter(pc.equal(all_parts["shard_id"], shard["shard_id"]))
    parts = _PartOf(mine)
    constants = {
        "task": recipe.task.name,
        "task_version": recipe.task.version,
        "recipe_hash": manifest.recipe_hash,
        "seed": recipe.seed,
        "split": shard["split"],
    }
    classes = features["label"].classes if "label" in features else ()
    of_part: Counter[tuple[str, int]] = Counter()
    try:
        for number, row in scalar_rows(file, features):
            part = parts.of(row)
            if part is not None:
                of_part[row["source_key"], part["start"]] += 1
            findings.num_rows += 1
            if classes:
                findings.by_label[row["label"]] += 1
            for check, message in _row_faults(row, part, constants, classes, ids):
                findings.add(check, message, shard["file"], number, row["source_key"] or "")
            ids.add(row["example_id"])
    except CorruptData as error:
        findings.add("page", str(error), shard["file"])
        return
    for part in parts:
        key, start = part["source_key"], part["start"]
        if of_part[key, start] != part["num_examples"]:
            from_start = f" from {start}" if start else ""
            message = f"{key!r}{from_start} has {of_part[key, start]} rows, its part says {part['num_examples']}"
            findings.add("conservation", message, shard["file"], source_key=key)


class _PartOf:
    """The parts of one shard, found by the place of a row in its source."""

    def __init__(self, parts: pa.Table) -> None:
        self._parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for part in sorted_by(parts.select(_PART_COLUMNS), "start").to_pylist():
            self._parts[part["source_key"]].append(part)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for of_source in self._parts.values():
            yield from of_source

    def of(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the part in which the row's segment lies, None where there is none."""
        of_source, segment = self._parts.get(row["source_key"], []), row["segment"] or 0
        index = bisect_right(of_source, segment, key=itemgetter("start")) - 1
        if index < 0 or WHOLE < of_source[index]["end"] <= segment:
            return None
        return of_source[index]


def _row_faults(
    row: Mapping[str, Any],
    part: Mapping[str, Any] | None,
    constants: Mapping[str, Any],
    classes: tuple[str, ...],
    ids: set[str],
) -> Iterator[tuple[str, str]]:
    for name, expected in constants.items():
        if row[name] != expected:
            yield "lineage", f"{name} is {row[name]!r}, not {expected!r}"
    if part is None or part["status"] != "used":
        yield "lineage", f"source {row['source_key']!r} is not a used part of this shard"
    else:
        pairs = (("group_id", "group_id"), ("source_sha256", "sha256"))
        for name, of_part in pairs:
            if row[name] != part[of_part]:
                yield "lineage", f"{name} is {row[name]!r}, its part says {part[of_part]!r}"
    rng = ItemRng(constants["seed"], constants["task"], row["source_key"] or "", row["segment"] or 0)
    if row["example_id"] != rng.example_id(row["draw"] or 0):
        yield "example_id", f"example_id {row['example_id']!r} is not that of its source, segment and draw"
    if row["example_id"] in ids:
        yield "example_id", f"example_id {row['example_id']!r} stands twice"
    if classes and not (isinstance(row["label"], int) and 0 <= row["label"] < len(classes)):
        yield "label", f"label {row['label']!r} is not one of {len(classes)} classes"
    elif classes and row["label_name"] != classes[row["label"]]:
        yield "label", f"label_name is {row['label_name']!r}, label {row['label']} is {classes[row['label']]!r}"


def _check_balance(manifest: Manifest, findings: Findings) -> None:
    features = manifest.typed_features()
    classes = features["label"].classes if "label" in features else ()
    if not classes or manifest.task in _UNBALANCED_TASKS:
        return
    expected = sum(findings.by_label.values()) / len(classes)
    allowed = _MAX_DEVIATIONS * expected**0.5 + 1
    for label, name in enumerate(classes):
        found = findings.by_label[label]
        if abs(found - expected) > allowed:
            findings.add("balance", f"class {name!r} has {found} examples, {expected:.1f} +- {allowed:.1f} are fair")
