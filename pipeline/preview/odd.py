"""Which examples to show: the odd ones first, each with the reason, then ordinary ones of every label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from ..encode import decode_flac
from ..features import Feature, Features
from . import pictures
from .markup import shorten
from .sample import Row, Sample, label_of, leaves, size, size_text

#: Pictures and sounds of this many rows are looked into; more would make the page slow to write.
_MAX_DECODED = 240
#: A value is rare below this share, or this part of its fair share.
_RARE_FRACTION = 0.05
_RARE_OF_FAIR = 0.5
_MAX_NAMES = 12
#: Columns of lineage, what is odd about their values, and the values that are not.
_LINEAGE: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("source_truncated", "source is truncated", (False, None)),
    ("source_exif_orientation", "source was turned by EXIF", (0, 1, None)),
)


@dataclass(frozen=True)
class Pick:
    """One row to show. `reasons`: why it is odd; empty for an ordinary one."""

    row: Row
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Measure:
    """What rows are compared by: the row with the extreme value is odd where the others differ from it enough."""

    of: Callable[[Row], float | None]
    text: Callable[[float], str]
    low: str = ""
    high: str = ""


def choose(features: Features, sample: Sample, num_examples: int) -> list[Pick]:
    """Return up to `num_examples` rows of the sample, odd ones first; at most half of them are odd."""
    reasons: dict[int, list[str]] = defaultdict(list)
    for index, reason in _odd_ones(features, sample):
        reasons[index].append(reason)
    odd = list(reasons)[: max(1, num_examples // 2)]
    ordinary = [index for index in _ordinary(sample) if index not in odd]
    picks = [Pick(sample.rows[index], tuple(reasons[index])) for index in odd]
    return [*picks, *(Pick(sample.rows[index], ()) for index in ordinary)][:num_examples]


def low_cardinality(features: Features, rows: Sequence[Row]) -> dict[str, Counter[str]]:
    """Return how often each value of the task's own text columns stands in `rows`, where there are 2 to 12."""
    found = {}
    for column, feature in features:
        if feature.role != "parameter" or feature.dtype != "string" or feature.shape:
            continue
        counts = Counter(row[column] or "(empty)" for row in rows)
        if 2 <= len(counts) <= _MAX_NAMES:
            found[column] = counts
    return found


def _odd_ones(features: Features, sample: Sample) -> Iterator[tuple[int, str]]:
    yield from _rare_labels(sample)
    for column, counts in low_cardinality(features, sample.rows).items():
        rare, number = min(counts.items(), key=lambda item: item[1])
        if number < _RARE_FRACTION * len(sample.rows):
            index = next(place for place, row in enumerate(sample.rows) if (row[column] or "(empty)") == rare)
            yield index, f"rare: {column} is {shorten(rare, 40)}"
    for column, said, plain in _LINEAGE:
        strange = (place for place, row in enumerate(sample.rows) if row.get(column, False) not in plain)
        for index in islice(strange, 1):
            yield index, said
    for measure in _measures(features):
        yield from _extremes(sample.rows, measure)


def _rare_labels(sample: Sample) -> Iterator[tuple[int, str]]:
    if len(sample.labels) < 2 or len(sample.labels) > sample.num_label_rows / 4:
        return
    label, number = min(sample.labels.items(), key=lambda item: item[1])
    if number >= _RARE_OF_FAIR * sample.num_label_rows / len(sample.labels):
        return
    for index, row in enumerate(sample.rows):
        if label_of(row) == label:
            yield index, f"rarest label: {number:,} of {sample.num_label_rows:,}"
            return


def _extremes(rows: Sequence[Row], measure: _Measure) -> Iterator[tuple[int, str]]:
    step = max(1, len(rows) // _MAX_DECODED)
    indexes = range(0, len(rows), step)
    known = [(value, index) for index in indexes if (value := measure.of(rows[index])) is not None]
    if len(known) < 3:
        return
    lowest, highest = min(known), max(known)
    if highest[0] - lowest[0] <= 0.02 * abs(highest[0]):
        return
    if measure.low:
        yield lowest[1], f"{measure.low}: {measure.text(lowest[0])}"
    if measure.high:
        yield highest[1], f"{measure.high}: {measure.text(highest[0])}"


def _measures(features: Features) -> Iterator[_Measure]:
    yield _Measure(partial(size, features), size_text(features), "smallest", "largest")
    first = {
        feature.kind: (column, feature)
        for column, feature in reversed(list(features))
        if feature.role == "input" or feature.kind == "box"
    }
    if "image" in first:
        of_first = partial(_of_first, *first["image"])
        yield _Measure(partial(of_first, pictures.contrast), "{:.1f} of 255".format, "lowest contrast")
        yield _Measure(partial(of_first, _elongation), "{:.2f} to 1".format, high="most elongated")
    if "audio" in first:
        yield _Measure(partial(_of_first, *first["audio"], _level_dbfs), "{:.1f} dBFS".format, "quietest", "loudest")
    if "box" in first and not first["box"][1].shape:
        column = first["box"][0]
        yield _Measure(partial(_box_width, column), "{:.0f} px wide in its source".format, f"smallest {column}")


def _box_width(column: str, row: Row) -> float | None:
    return float(row[column]["w"]) if row[column] else None


def _of_first(column: str, feature: Feature, measure: Callable[[bytes], float], row: Row) -> float | None:
    cells = leaves(feature, row[column])
    return measure(cells[0]["bytes"]) if cells and cells[0]["bytes"] else None


def _elongation(stored: bytes) -> float:
    width, height = pictures.size_px(stored)
    return max(width / height, height / width)


def _level_dbfs(stored: bytes) -> float:
    samples = decode_flac(stored)
    return 10 * float(np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-12)) if len(samples) else -120.0


def _ordinary(sample: Sample) -> Iterator[int]:
    """Yield rows so that labels take turns, and a source comes again only when all others of its label had theirs."""
    seen: Counter[tuple[Any, Any]] = Counter()
    queues: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for index, row in enumerate(sample.rows):
        label = label_of(row) if len(sample.labels) <= sample.num_label_rows / 4 else None
        source = (label, row.get("source_key"))
        queues[label].append((seen[source], index))
        seen[source] += 1
    sources: Counter[Any] = Counter()
    turns = [sorted(queue) for queue in queues.values()]
    for place in range(max(map(len, turns), default=0)):
        for queue in turns:
            if place < len(queue):
                # Another source for another label, where there is one: four turns of one picture teach little.
                rest = queue[place:]
                best = min(range(min(len(rest), 40)), key=lambda at: (sources[_source(sample, rest[at])], at))
                queue[place], queue[place + best] = queue[place + best], queue[place]
                sources[_source(sample, queue[place])] += 1
                yield queue[place][1]


def _source(sample: Sample, entry: tuple[int, int]) -> Any:
    return sample.rows[entry[1]].get("source_key")
