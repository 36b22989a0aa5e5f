"""Globs on keys: `*` stands for any characters but `/`, `**` for any; everything else is literal."""

from __future__ import annotations

import re
from collections.abc import Sequence


def split_glob(uri: str) -> tuple[str, str]:
    """Return (root, glob): the part before the first segment with a `*`, and the rest; no `*`: (uri, "")."""
    star = uri.find("*")
    if star < 0:
        return uri, ""
    cut = uri.rfind("/", 0, star)
    root = uri[:cut] if cut >= 0 else "."
    return root or "/", uri[cut + 1 :]


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return the expression that a key fully matches where the glob does; "" matches every key."""
    return re.compile(_expression(glob) if glob else ".*", re.DOTALL)


def include_pattern(globs: Sequence[str]) -> re.Pattern[str]:
    """Return the expression for source keys that any glob matches; none given: all.

    A glob without `/` is matched with what stands behind the last `/` or `#`.
    """
    if not globs:
        return re.compile(".*", re.DOTALL)
    choices = [_expression(glob) if "/" in glob else "(?:.*[/#])?" + _expression(glob) for glob in globs]
    return re.compile("|".join(choices), re.DOTALL)


def _expression(glob: str) -> str:
    parts = re.split(r"((?:^|(?<=/))\*\*/|\*\*+|\*)", glob)
    return "".join(_translated(part) for part in parts)


def _translated(part: str) -> str:
    if part == "**/":
        return "(?:.*/)?"
    if part.startswith("*"):
        return "[^/]*" if part == "*" else ".*"
    return re.escape(part)
