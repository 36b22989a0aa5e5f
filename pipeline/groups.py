"""Groups decide the split: sources of one patient, site, camera or recording never straddle it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable

from .errors import ConfigError, nearest
from .rng import keyed_fractions

SPLITS = ("train", "val")

GroupOf = Callable[[str], str]


def group_function(group_by: str | None, group_csv: bytes | None = None) -> GroupOf:
    """Return the function from source_key to group_id.

    Args:
        group_by: a regular expression searched in the key: its group named `group`, else its first group, else the
            whole match is the group; keys that do not match form groups of their own. None: every key is a group.
        group_csv: content of a csv with columns source_key, group, used instead of a regular expression.

    Raises:
        ConfigError: the expression does not compile, or the csv is not UTF-8 or lacks a column.
    """
    if group_csv is not None:
        table = _read_group_csv(group_csv)
        return lambda key: table.get(key, key)
    if group_by is None:
        return lambda key: key
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"`group_by`: {group_by!r} is no regular expression: {error}.") from error
    wanted: str | int = "group" if "group" in pattern.groupindex else min(1, pattern.groups)

    def group_of(key: str) -> str:
        match = pattern.search(key)
        found = match.group(wanted) if match else None
        return key if found is None else found

    return group_of


def splits_of(groups: Iterable[str], val_fraction: float, seed: int) -> list[str]:
    """Return the split of every group, in order: a hash of (seed, group) below `val_fraction` means val."""
    groups = [*groups]
    known: dict[str, str] = dict.fromkeys(groups, "")
    for group, fraction in zip(known, keyed_fractions("split", seed, known), strict=True):
        known[group] = SPLITS[fraction < val_fraction]
    return [known[group] for group in groups]


def _read_group_csv(data: bytes) -> dict[str, str]:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise ConfigError(f"`group_by` csv: not UTF-8: {error}.") from error
    for column in ("source_key", "group"):
        if column not in (rows.fieldnames or []):
            raise ConfigError(
                f"`group_by` csv: no column {column!r}; it has {', '.join(rows.fieldnames or [])}."
                + nearest(column, rows.fieldnames or [])
            )
    # An empty cell, or a line that ends early, names no group: the key stands alone.
    return {row["source_key"]: row["group"] for row in rows if row["group"]}
