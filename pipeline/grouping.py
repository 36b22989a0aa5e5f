"""From copies to groups: what a newcomer inherits, what is filtered, what is only reported.

Groups that stand are never moved: a newcomer joins the group of what it copies. One that would link two splits is
filtered, and so is, on request, every copy but one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .groups import GroupOf
from .rng import sha256_hex

Dedup = Literal["off", "group", "drop"]
#: A component above this share of the sources, and above this number, says more of the fingerprint than of them.
LARGE_FRACTION, LARGE_MIN_SOURCES = 0.01, 32


@dataclass(frozen=True)
class Recorded:
    """What a version has decided for a source: its group, and that group's split."""

    group_id: str
    split: str


@dataclass(frozen=True)
class Copies:
    """Which sources are copies of one another.

    Attributes:
        components: members of every component of two or more.
        neighbours: source_key -> keys that it was found to be a copy of, both ways.
        num_sources: how many sources were looked at.
    """

    components: Sequence[Sequence[str]] = ()
    neighbours: Mapping[str, Sequence[str]] = field(default_factory=dict)
    num_sources: int = 0


@dataclass(frozen=True)
class Grouping:
    """Groups of all listed sources.

    Attributes:
        group_of: the function from source_key to group_id.
        filtered: source_key -> reason (`near_duplicate`, `bridges_splits`) of sources that no shard will hold.
        num_copies: sources in components that were merged.
        large: components that were too large to be merged: first key by hash, number of sources.
    """

    group_of: GroupOf
    filtered: Mapping[str, str] = field(default_factory=dict)
    num_copies: int = 0
    large: tuple[tuple[str, int], ...] = ()


def assign(
    copies: Copies,
    group_of: GroupOf,
    recorded: Mapping[str, Recorded],
    *,
    changed: frozenset[str] = frozenset(),
    keeps_one: bool = False,
) -> Grouping:
    """Return the groups of all sources.

    Args:
        copies: what was found.
        group_of: the group of a key without regard to copies: the key itself, a patient, a camera.
        recorded: what the base version has decided, of the keys in its shards.
        changed: recorded keys whose content is another one now.
        keeps_one: filter all copies but one: those in the base's shards, else the first by hash.
    """
    groups = _Groups(group_of, recorded)
    limit = max(LARGE_MIN_SOURCES, LARGE_FRACTION * copies.num_sources)
    filtered: dict[str, str] = {}
    large, num_copies = [], 0
    for members in copies.components:
        ordered = in_hash_order(members)
        if len(ordered) > limit:
            large.append((ordered[0], len(ordered)))
            continue
        num_copies += len(ordered)
        placed = {key for key in ordered if key in recorded and key not in changed}
        newcomers = [key for key in ordered if key not in placed]
        if keeps_one and not placed:
            placed.add(newcomers.pop(0))
        if keeps_one:
            filtered |= dict.fromkeys(newcomers, "near_duplicate")
            continue
        for key in newcomers:
            touched = [other for other in copies.neighbours[key] if other in placed]
            if not groups.join(key, touched):
                filtered[key] = "bridges_splits"
            else:
                placed.add(key)
    return Grouping(groups.of, filtered, num_copies, tuple(sorted(large)))


def in_hash_order(keys: Iterable[str]) -> list[str]:
    """Return keys in the order of their sha256: the same for every listing, and fair to all."""
    return sorted(keys, key=_hash)


def _hash(key: str) -> str:
    return sha256_hex(key.encode("utf-8", "surrogatepass"))


class _Groups:
    """Groups that copies join. One that the base version has placed keeps its name and its split."""

    def __init__(self, group_of: GroupOf, recorded: Mapping[str, Recorded]) -> None:
        self._group_of = group_of
        self._recorded = recorded
        self._parents: dict[str, str] = {}
        self._splits = {known.group_id: known.split for known in recorded.values()}
        self._names: dict[str, str] = {}
        for key in in_hash_order(recorded):
            self._names.setdefault(group_of(key), recorded[key].group_id)

    def of(self, key: str) -> str:
        """Return the group of any key."""
        known = self._recorded.get(key)
        return known.group_id if known else self._root(key)

    def join(self, key: str, others: Iterable[str]) -> bool:
        """Join the groups of all these keys; False, and nothing done, where that would link two splits."""
        roots = {self._root(each) for each in (key, *others)}
        if len({self._splits[root] for root in roots if root in self._splits}) > 1:
            return False
        first, *rest = sorted(roots, key=lambda root: (root not in self._splits, _hash(root)))
        for root in rest:
            self._parents[root] = first
        return True

    def _root(self, key: str) -> str:
        known = self._recorded.get(key)
        name = self._group_of(key) if known is None else known.group_id
        name = name if known else self._names.get(name, name)
        while name in self._parents:
            name = self._parents[name]
        return name
