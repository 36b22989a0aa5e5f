"""HTML from untrusted strings: whatever is not `Html` is escaped."""

from __future__ import annotations

import html
import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"img", "meta"})


class Html(str):
    """Markup that `tag` made; a plain string is text."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Return text as markup: quotes and angle brackets escaped, control characters and lone surrogates replaced."""
    return Html(html.escape(_CONTROLS.sub("\ufffd", str(text)), quote=True))


def tag(element: str, /, *children: object, **attributes: object) -> Html:
    """Return an element. Children that are no `Html` are escaped, attribute values always.

    `class_` stands for class, `aria_label` for aria-label; an attribute that is None or False is left out, one that
    is True stands without value.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        written += f" {word}" if value is True else f' {word}="{escape(value)}"'
    if element in _VOID:
        return Html(f"<{element}{written}>")
    return Html(f"<{element}{written}>{join(*children)}</{element}>")


def join(*children: object) -> Html:
    """Return children one after the other, escaped where they are no `Html`."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def name(text: object) -> Html:
    """Return a key or name as code, isolated: its writing direction cannot turn the text around it."""
    return tag("bdi", tag("code", text))


def shorten(text: str, max_chars: int) -> str:
    """Return text cut to `max_chars` characters, an ellipsis included."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def bytes_text(num_bytes: float) -> str:
    """Return a number of bytes as people read it: 1.5 MB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
