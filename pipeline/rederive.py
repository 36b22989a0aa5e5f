"""Labels recomputed from source bytes: read and decode again, ask the task's second opinion, compare.

Decoders and resampler are those of the run; the task's `examples` is not called.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .decode.fence import Fence
from .encode import decode_cell
from .errors import CorruptData, Filtered, Reject, RejectReason
from .features import Features
from .inventory import OpenSource, SourceReader
from .manifest import Manifest, load_tables
from .rendering import Rendering
from .rng import ItemRng, keyed_fraction
from .serial_arrow import ParquetReader
from .storage import Store
from .task import Modality, PretextTask
from .verify import Findings, open_shard
from .work import decoded, video_item

#: Reasons for which a source is not what it was when the dataset was made: nobody's fault, but told.
_CHANGED = frozenset({RejectReason.CHANGED, RejectReason.MISSING, RejectReason.EMPTY})
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-5

_OfSource = Sequence[tuple[int, Mapping[str, Any]]]
_Rows = Mapping[str, _OfSource]


@dataclass
class Rederived:
    """How much was recomputed. `changed`: keys of sources that are no longer what they were, or gone."""

    num_sources: int = 0
    num_rows: int = 0
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SecondOpinion:
    """What labels are recomputed with.

    task: with the dataset's settings and assets. inputs: opened at the manifest's input_uri. fence: with the recipe's
    limits and options.
    """

    task: PretextTask[Any]
    inputs: Store
    fence: Fence


def rederive(
    store: Store,
    manifest: Manifest,
    opinion: SecondOpinion,
    findings: Findings,
    *,
    fraction: float,
    digests: bool = True,
) -> Rederived:
    """Recompute the labels of a keyed share of the sources, note differences in `findings`, and say how many.

    Args:
        store: of the dataset.
        manifest: of the version.
        opinion: task, inputs and fence.
        findings: where problems are added, each with shard file and row.
        fraction: share of the used sources, in [0, 1].
        digests: as verify.

    Raises:
        StoreError: the inputs cannot be read at all.
    """
    tables = load_tables(store, manifest, "shards", "parts")
    done = Rederived()
    used = tables.parts.filter(pc.equal(tables.parts["status"], "used"))
    for shard in tables.shards.to_pylist():
        mine = _chosen(used.filter(pc.equal(used["shard_id"], shard["shard_id"])), fraction)
        if not shard["file"] or not mine.num_rows:
            continue
        unnoted = Findings()
        file = open_shard(store, shard, manifest, unnoted, digests=digests)
        if file is None:  # `verify` has said why
            continue
        rows = _rows_of(file, mine["source_key"].to_pylist())
        check = _ShardCheck(shard["file"], opinion.task, manifest, opinion.fence, findings)
        sha256s = dict(zip(mine["source_key"].to_pylist(), mine["sha256"].to_pylist(), strict=True))
        etags = dict(zip(mine["source_key"].to_pylist(), mine["etag"].to_pylist(), strict=True))
        # Without content to compare, the etag is all there is to tell a change.
        has_sha256 = all(sha256s.values())
        with SourceReader(opinion.inputs, mine, check_etag=not has_sha256 and any(etags.values())) as reader:
            for source in reader:
                of_part = _within(rows.get(source.source_key, ()), source.bounds)
                if check.source(source, sha256s[source.source_key], of_part):
                    done.num_sources += 1
                    done.num_rows += len(of_part)
                else:
                    done.changed.append(source.source_key)
    return done


def _chosen(parts: pa.Table, fraction: float) -> pa.Table:
    return parts.filter(
        pa.array([keyed_fraction("rederive", key) < fraction for key in parts["source_key"].to_pylist()], pa.bool_())
    )


def _rows_of(file: ParquetReader, keys: Sequence[str]) -> _Rows:
    """Return the rows of some sources: source_key -> [(row number, cells)]."""
    wanted = pa.array(keys, pa.string())
    rows = defaultdict(list)
    first = 0
    for index in range(file.metadata.num_row_groups):
        try:
            table = file.read_row_group(index)
        except (pa.ArrowException, OSError, ValueError):
            return {}  # a damaged page, which `verify` has named
        chosen = np.flatnonzero(pc.is_in(table["source_key"], value_set=wanted).to_numpy())
        for number, row in zip(chosen.tolist(), table.take(chosen).to_pylist(), strict=True):
            rows[row["source_key"]].append((first + number, row))
        first += table.num_rows
    return rows


def _within(rows: _OfSource, bounds: tuple[int, int] | None) -> _OfSource:
    """Return the rows that lie in a part of their source."""
    return rows if bounds is None else [row for row in rows if bounds[0] <= row[1]["segment"] < bounds[1]]


@dataclass(frozen=True)
class _ShardCheck:
    """Compares rows of one shard with what their sources say."""

    file: str
    task: PretextTask[Any]
    manifest: Manifest
    fence: Fence
    findings: Findings

    def source(self, source: OpenSource, sha256: str, rows: _OfSource) -> bool:
        """Check a source's rows; False where it is not what it was."""
        if source.error is not None:
            if source.error.reason not in _CHANGED:
                self._cannot_be_used(source, source.error)
            return source.error.reason not in _CHANGED
        try:
            if sha256 and source.sha256() != sha256:
                return False
            self._rows(source, rows)
        except Reject as verdict:
            if verdict.reason in _CHANGED:
                return False
            self._cannot_be_used(source, verdict)
        except Filtered as verdict:
            message = f"the task wants no clip of {source.source_key!r}: {verdict.reason}"
            self.findings.add("rederive", message, self.file, source_key=source.source_key)
        return True

    def _cannot_be_used(self, source: OpenSource, verdict: Reject) -> None:
        message = f"{source.source_key!r} cannot be used: {verdict.reason}, {verdict.message}"
        self.findings.add("rederive", message, self.file, source_key=source.source_key)

    def _rows(self, source: OpenSource, rows: _OfSource) -> None:
        of_segment = defaultdict(list)
        for number, row in rows:
            of_segment[row["segment"]].append((number, row))
        features, rendering = self.manifest.typed_features(), self.manifest.typed_rendering()
        for segment, item in self._items(source):
            for number, row in of_segment.pop(segment, ()):
                for message in row_faults(self.task, (features, rendering), row, item):
                    self.findings.add("rederive", message, self.file, number, source.source_key)
        for segment, orphans in of_segment.items():
            for number, _ in orphans:
                message = f"{source.source_key!r} has no item at segment {segment}"
                self.findings.add("rederive", message, self.file, number, source.source_key)

    def _items(self, source: OpenSource) -> Iterator[tuple[int, Any]]:
        if self.task.modality in (Modality.VIDEO, Modality.VIDEO_AUDIO):
            recipe = self.manifest.recipe
            rng = ItemRng(recipe.seed, recipe.task.name, source.source_key, 0)
            yield 0, video_item(self.task, source, rng, self.fence)
        else:
            yield from decoded(self.task.modality, source, self.fence)


def row_faults(
    task: PretextTask[Any], stored: tuple[Features, Rendering | None], row: Mapping[str, Any], item: Any
) -> list[str]:
    """Return in which columns a stored row (Arrow cells as Python values) is not what the item says.

    `stored`: the columns of the row, and how the example is made of them where they are a recipe.
    """
    features, rendering = stored
    try:
        values = {name: decode_cell(feature, row[name]) for name, feature in features}
        if rendering is not None:
            values[rendering.column] = rendering.apply(values)
        again = task.rederive(values, item)
    except (CorruptData, OSError, ValueError, IndexError, KeyError, TypeError) as error:
        # A row that cannot be read at its word is as wrong as one that says something else.
        return [f"it cannot be rederived: {type(error).__name__}: {str(error)[:200]}"]
    return [
        f"{name} is {_short(values[name])}, but its source says {_short(found)}"
        for name, found in again.items()
        if not agree(values[name], found)
    ]


def agree(stored: Any, found: Any) -> bool:
    """Return whether a stored value is the rederived one: exactly, floats within a relative 1e-4."""
    stored, found = (one.tolist() if isinstance(one, np.ndarray | np.generic) else one for one in (stored, found))
    if isinstance(stored, list | tuple) and isinstance(found, list | tuple):
        return len(stored) == len(found) and all(map(agree, stored, found))
    if isinstance(stored, float) or isinstance(found, float):
        if stored is None or found is None or isinstance(stored, str) or isinstance(found, str):
            return False
        return math.isclose(stored, found, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE)
    return bool(stored == found)


def _short(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
    return text if len(text) <= 80 else text[:77] + "..."
