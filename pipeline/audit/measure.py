"""Rows to cues: one table row an example, small enough that a hundred thousand of them fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..features import Features
from ..manifest import Manifest
from ..rendering import Rendering
from ..task import Objective
from .catalogue import FAMILIES
from .seen import Seen, see
from .trivial import measure_trivial

#: Lineage that identifies a dataset or an example by a hash, or is looked at elsewhere.
_NOT_PROBED = frozenset({"example_id", "recipe_hash", "task", "task_version", "seed", "draw", "group_id", "split"})
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """What of a dataset's rows is measured.

    Attributes:
        features: all columns of examples, envelope included.
        objective: of the task.
        targets: label columns that probes predict: one number a row.
        is_contrastive: there is no label; pairs as stored are told from pairs across sources.
        recipe: of rows that hold recipes: their columns, and how examples are made of them.
    """

    features: Features
    objective: str
    recipe: tuple[Features, Rendering] | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Spec:
        """Return what is measured of a dataset."""
        rendering = manifest.typed_rendering()
        recipe = None if rendering is None else (manifest.typed_features(), rendering)
        return cls(manifest.seen_features(), manifest.objective, recipe)

    def examples(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return rows as stored as examples; they are, but for recipes, whose pictures are made.

        Raises CorruptData where a stored crop is no picture.
        """
        if self.recipe is None:
            return rows
        stored, rendering = self.recipe
        return [rendering.row(stored, row) for row in rows]

    @property
    def targets(self) -> tuple[str, ...]:
        """The label columns that hold one number a row."""
        return tuple(
            name
            for name in self.features.with_role("label")
            if self.features[name].kind == "value"
            and not self.features[name].shape
            and self.features[name].dtype not in ("string", "binary")
        )

    @property
    def is_contrastive(self) -> bool:
        """Whether pairs are matched and nothing is predicted."""
        return self.objective == Objective.CONTRASTIVE and not self.targets

    @property
    def lineage(self) -> tuple[str, ...]:
        """The lineage columns that are probed."""
        return tuple(name for name in self.features.with_role("lineage") if name not in _NOT_PROBED)

    @property
    def families(self) -> tuple[str, ...]:
        """The families that look at an example, by name."""
        return tuple(family.name for family in FAMILIES)


SAME = "same"


def measure(spec: Spec, rows: Sequence[Row], first_row: int, num_shard_rows: int) -> pa.Table:
    """Return one row an example: group, targets, cues by family, lineage, and what trivial predictors make of it.

    Args:
        spec: what to measure.
        rows: examples, in the order of the shard.
        first_row: number in the shard of the first of them.
        num_shard_rows: rows of the shard.
    """
    measured: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        if any(row[name] is None for name in spec.targets):
            continue
        found: dict[str, Any] = {"group_id": row["group_id"], "row": first_row + number, "draw": row["draw"]}
        found["place"] = (first_row + number) / max(1, num_shard_rows - 1)
        found["lineage"] = json.dumps([row[name] for name in spec.lineage], default=str)
        found["trivial"] = json.dumps(measure_trivial(spec.features, spec.objective, row))
        if spec.targets:
            seen = see(spec.features, row)
            found["labels"] = [float(row[name]) for name in spec.targets]
            measured.append({**found, **_cues(seen)})
        elif spec.is_contrastive:
            for is_same, seen in _pairs(spec.features, rows, number):
                measured.append({**found, **_cues(seen), "labels": [float(is_same)]})
        else:
            measured.append({**found, "labels": []})
    return pa.Table.from_pylist(measured, SCHEMA)


SCHEMA = pa.schema(
    [
        pa.field("group_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("place", pa.float64()),
        pa.field("draw", pa.int64()),
        pa.field("labels", pa.list_(pa.float64())),
        pa.field("lineage", pa.string()),
        pa.field("trivial", pa.string()),
        pa.field("segments", pa.list_(pa.list_(pa.int64()))),
        *(pa.field(family.name, pa.list_(pa.float32())) for family in FAMILIES),
    ]
)


def _cues(seen: Seen) -> dict[str, Any]:
    cues: dict[str, Any] = {family.name: family.measure(seen).tolist() for family in FAMILIES}
    return {**cues, "segments": [segment.tolist() for segment in seen.segments]}


def _pairs(features: Features, rows: Sequence[Row], number: int) -> Iterator[tuple[bool, Seen]]:
    """Yield the pair as stored, and its first half with the second half of a row of another group.

    That row stands half of all rows on, or next after it where that is of the same group: so (nearly) every second
    half stands in one pair of either kind, and alone tells nothing.
    """
    row = rows[number]
    media = [name for name in features.with_role("input") if features[name].kind in ("image", "audio")]
    yield True, see(features, row)
    begin = number + len(rows) // 2
    candidates = (rows[(begin + step) % len(rows)] for step in range(len(rows)))
    other = next((one for one in candidates if one["group_id"] != row["group_id"]), None)
    if len(media) > 1 and other is not None:
        yield False, see(features, {**row, media[-1]: other[media[-1]]})
