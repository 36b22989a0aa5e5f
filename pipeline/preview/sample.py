"""A bounded, keyed sample of a version's rows: the same dataset always shows the same examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..decode.bytes_source import NamelessFile
from ..errors import CorruptData
from ..features import Feature, Features
from ..manifest import Manifest, Tables
from ..rng import keyed_generator, sha256_hex
from ..serial_arrow import ParquetReader
from ..storage import Store
from .markup import bytes_text

#: At most this much is read of shards, however large the dataset is.
MAX_ROW_GROUPS = 16
MAX_NUM_BYTES = 64 * 2**20
#: Labels are counted in this many row groups, where reading the labels' column alone is cheap.
MAX_LABEL_ROW_GROUPS = 32
#: What Parquet's reader asks for at a file's end.
_TAIL_BYTES = 64 * 2**10

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """What was read.

    Attributes:
        rows: stored cells by column, in keyed order of row groups; media as dicts with `bytes`.
        num_row_groups: how many row groups they are from.
        labels: values of the column `label` (names of classes where it has them), and how often each was seen.
        num_label_rows: rows in which labels were counted.
    """

    rows: tuple[Row, ...]
    num_row_groups: int
    labels: Mapping[Any, int]
    num_label_rows: int


def read_sample(store: Store, manifest: Manifest, tables: Tables, *, max_num_bytes: int = MAX_NUM_BYTES) -> Sample:
    """Read a few whole row groups and, from more of them, the labels; both splits where there are two.

    Raises:
        CorruptData: a page does not match its checksum, or the file is no Parquet.
        NotFound: a file that the version names is gone.
    """
    order = keyed_row_groups(manifest, tables)
    rows: list[Row] = []
    num_bytes = num_row_groups = 0
    for group in order[:MAX_ROW_GROUPS]:
        if rows and num_bytes + group["num_bytes"] > max_num_bytes:
            break
        rows += read_row_group(store, group, None)
        num_bytes += group["num_bytes"]
        num_row_groups += 1
    labels = _labels(rows)
    column = "label_name" if "label_name" in manifest.typed_features() else "label"
    if labels:
        for group in order[num_row_groups:MAX_LABEL_ROW_GROUPS]:
            labels += _labels(read_row_group(store, group, [column]))
    return Sample(tuple(rows), num_row_groups, labels, labels.total())


def label_of(row: Row) -> Any:
    """Return the name of a row's class, else its label, else None."""
    return row.get("label_name", row.get("label"))


def _labels(rows: Sequence[Row]) -> Counter[Any]:
    labels = (label_of(row) for row in rows)
    return Counter(label for label in labels if label is not None and not isinstance(label, list))


def size(features: Features, row: Row) -> int:
    """Return how large an example is: bytes of its pictures and sounds; else its tokens; else bytes of its text."""
    media = [column for column, feature in features if feature.kind in ("image", "audio")]
    if media:
        return sum(len(cell["bytes"] or b"") for column in media for cell in leaves(features[column], row[column]))
    if "attention_mask" in features:
        return int(sum(row["attention_mask"]))
    inputs = (row[column] for column in features.with_role("input"))
    return sum(len(cell if isinstance(cell, bytes) else str(cell).encode("utf-8", "replace")) for cell in inputs)


def size_text(features: Features) -> Callable[[float], str]:
    """Return what writes a `size` for people."""
    has_media = any(feature.kind in ("image", "audio") for _, feature in features)
    return "{:.0f} tokens".format if "attention_mask" in features and not has_media else bytes_text


def leaves(feature: Feature, cell: Any) -> list[Any]:
    """Return the entries of a cell, its lists flattened, in order."""
    if cell is None:
        return []
    entries = [cell]
    for _ in feature.shape:
        entries = [leaf for entry in entries for leaf in entry]
    return entries


def keyed_row_groups(manifest: Manifest, tables: Tables) -> list[dict[str, Any]]:
    """Return row groups with their shards' facts, in keyed order.

    One of every shard comes before the second of any, and val is among the first where there is one.
    """
    shards = {(row["generation"], row["ordinal"]): row for row in tables.shards.to_pylist()}
    groups = []
    for row in tables.row_groups.to_pylist():
        shard = shards[row["generation"], row["ordinal"]]
        of_shard = {name: shard[name] for name in ("file", "split", "footer_sha256", "footer_num_bytes")}
        groups.append({**row, **of_shard, "file_num_bytes": shard["num_bytes"]})
    keyed = keyed_generator("preview", manifest.fingerprint).permutation(len(groups)).tolist()
    turns: Counter[str] = Counter()
    places = []
    for index in keyed:
        place = turns[groups[index]["file"]]
        turns[groups[index]["file"]] += 1
        places.append((place, index))
    ordered = [groups[index] for _, index in sorted(places, key=lambda pair: pair[0])]
    num_val = sum(group["split"] == "val" for group in ordered[:MAX_ROW_GROUPS])
    first_val = next((place for place, group in enumerate(ordered) if group["split"] == "val"), 0)
    if not num_val and first_val:
        ordered.insert(1, ordered.pop(first_val))
    return ordered


def read_row_group(store: Store, group: Mapping[str, Any], columns: Sequence[str] | None) -> list[Row]:
    """Return the rows of one of `keyed_row_groups`: footer and (for all columns) group in one ranged request each."""
    source = _Fetched(store, group["file"], group["file_num_bytes"])
    tail_num_bytes = min(group["file_num_bytes"], max(group["footer_num_bytes"], _TAIL_BYTES))
    footer = source.fetch(group["file_num_bytes"] - tail_num_bytes, tail_num_bytes)[-group["footer_num_bytes"] :]
    name = f"{store.describe(group['file'])}: row group {group['row_group']}"
    if sha256_hex(footer) != group["footer_sha256"]:
        raise CorruptData(f"{name}: the file's footer does not match its checksum; the file is damaged.")
    if columns is None:
        source.fetch(group["offset_bytes"], group["num_bytes"])
    try:
        with ParquetReader(NamelessFile(source), check_pages=True) as file:
            rows: list[Row] = file.read_row_group(group["row_group"], columns=columns).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptData(f"{name}: {error}") from error
    return rows


class _Fetched:
    """The bytes of an object: what was fetched is kept, anything else is a ranged request a read."""

    def __init__(self, store: Store, key: str, num_bytes: int) -> None:
        self._store = store
        self._key = key
        self._num_bytes = num_bytes
        self._blocks: list[tuple[int, bytes]] = []

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def fetch(self, start: int, length: int) -> bytes:
        data = self._store.get_range(self._key, start, length)
        self._blocks.append((start, data))
        return data

    def read(self, offset: int, length: int) -> bytes:
        for begin, block in self._blocks:
            if begin <= offset and offset + length <= begin + len(block):
                return block[offset - begin : offset - begin + length]
        return self._store.get_range(self._key, offset, length) if length else b""
