"""What stands beside an example: its place in the file, its draw, and every other lineage column; boilerplate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .family import Cues

#: Draws are looked at modulo these: labels that take turns show.
_TURNS = range(2, 10)
#: So many of a column's commonest values are told apart.
_MAX_VALUES = 16
_NGRAM = 3


def position(rows: Sequence[int], places: Sequence[float], draws: Sequence[int], num_classes: int) -> Cues:
    """Return where rows stand: float32 [num_examples, num_cues].

    Args:
        rows: number of each row in its shard.
        places: the same as a share of the shard, 0 to 1.
        draws: number of each draw in its item.
        num_classes: of the label; rows and draws are looked at modulo it, too.
    """
    at, draw = np.asarray(rows, np.int64), np.asarray(draws, np.int64)
    turns = sorted({*_TURNS, max(2, num_classes)})
    cues = [np.asarray(places, np.float64), at, draw]
    cues += [of % turn for of in (at, draw) for turn in turns]
    cues += [of % turn == value for of in (at, draw) for turn in turns if turn <= 6 for value in range(turn)]
    return np.stack(cues, axis=1).astype(np.float32)


def lineage(columns: Mapping[str, Sequence[Any]]) -> Cues:
    """Return cues of lineage columns: numbers as they are; other values by rank, length and the commonest ones.

    Lists give their entries. float32 [num_examples, num_cues].
    """
    cues: list[Any] = []
    for _, values in sorted(columns.items()):
        for entries in _flat(values):
            cues += _cues_of(entries)
    num_examples = len(next(iter(columns.values()), ()))
    return np.stack(cues, axis=1).astype(np.float32) if cues else np.zeros((num_examples, 0), np.float32)


def _flat(values: Sequence[Any]) -> list[list[Any]]:
    """Return a column as lists of single values: one for each place of its lists (as many as all rows have)."""
    if not any(isinstance(value, list) for value in values):
        return [list(values)]
    width = min(len(value or ()) for value in values)
    return [[value[place] for value in values] for place in range(width)]


def _cues_of(values: list[Any]) -> list[Any]:
    if all(isinstance(value, int | float) for value in values):
        numbers = np.asarray(values, np.float64)
        common = Counter(values).most_common(_MAX_VALUES)
        return [numbers, np.log1p(np.abs(numbers)), *(numbers == value for value, count in common if count > 1)]
    texts = [str(value) for value in values]
    rank = {text: place for place, text in enumerate(sorted(set(texts)))}
    common = Counter(texts).most_common(_MAX_VALUES)
    cues = [np.asarray([rank[text] for text in texts]), np.asarray([len(text) for text in texts])]
    return cues + [np.asarray([text == value for text in texts]) for value, count in common if count > 1]


def boilerplate(segments: Sequence[Sequence[Sequence[int]]], groups: Sequence[str]) -> Cues:
    """Return in how many groups the first and last 3 tokens of each segment recur: float32 [num_examples, num_cues].

    Args:
        segments: of each example, its segments' token ids (as many segments in each).
        groups: of each example, its group.
    """
    width = min((len(one) for one in segments), default=0)
    seen: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for one, group in zip(segments, groups, strict=True):
        for key in _keys(one, width):
            seen[key].add(group)
    cues = [[np.log(len(seen[key])) for key in _keys(one, width)] for one in segments]
    return np.asarray(cues, np.float32).reshape(len(segments), 2 * width)


def _keys(segments: Sequence[Sequence[int]], width: int) -> list[tuple[Any, ...]]:
    return [
        (end, *tokens)
        for one in segments[:width]
        for end, tokens in (("first", one[:_NGRAM]), ("last", one[len(one) - _NGRAM :]))
    ]
