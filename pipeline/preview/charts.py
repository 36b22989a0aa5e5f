"""Charts as tables and inline SVG: legible at any width, readable without seeing them, no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .markup import Html, join, name, tag

_MAX_BARS = 24


def bars(counts: Mapping[str, int], caption: str, *, by_count: bool = True) -> Html:
    """Return a table with a bar a name; of more than 24 names the 12 commonest and the 12 rarest.

    Args:
        counts: by name; names are untrusted.
        caption: of the table.
        by_count: the commonest first, else in the order given.
    """
    items = list(counts.items())
    if by_count or len(items) > _MAX_BARS:
        items.sort(key=lambda item: -item[1])
    total, most = sum(counts.values()) or 1, max(counts.values(), default=1) or 1
    half = _MAX_BARS // 2
    left_out = max(0, len(items) - _MAX_BARS)
    shown = [_bar_row(key, number, number / most, number / total) for key, number in items]
    if left_out:
        note = tag("tr", tag("td", f"… {left_out:,} more in between", colspan=3, class_="dim"))
        shown = [*shown[:half], note, *shown[-half:]]
    return tag("table", tag("caption", caption), tag("tbody", *shown), class_="bars")


def _bar_row(key: str, number: int, of_most: float, of_total: float) -> Html:
    bar = tag("rect", width=f"{100 * of_most:.2f}%", height=12, rx=2)
    return tag(
        "tr",
        tag("th", name(key), scope="row"),
        tag("td", tag("svg", bar, width="100%", height=12, aria_hidden="true"), class_="bar"),
        tag("td", f"{number:,} ", tag("span", f"{100 * of_total:.1f} %", class_="dim"), class_="number"),
    )


def histogram(values: Sequence[float], caption: str, text: Callable[[float], str]) -> Html:
    """Return a histogram of `values` with least, median and largest as `text` writes them."""
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if not len(data):
        return tag("p", f"{caption}: nothing to show", class_="dim")
    heights, edges = np.histogram(data, bins=32)
    top = max(1, int(heights.max()))
    columns = [
        tag(
            "rect", x=20 * place + 1, y=f"{100 - 100 * height / top:.1f}", width=18, height=f"{100 * height / top:.1f}"
        )
        for place, height in enumerate(heights.tolist())
        if height
    ]
    low, middle, high = text(float(edges[0])), text(float(np.median(data))), text(float(edges[-1]))
    if data.min() == data.max():
        low = high = middle
    said = f"{caption}: from {low} to {high}, median {middle}"
    picture = tag(
        "svg",
        *columns,
        viewBox="0 0 640 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=said,
        class_="histogram",
    )
    scale = tag("div", tag("span", low), tag("span", f"median {middle}"), tag("span", high), class_="scale")
    return tag("figure", tag("figcaption", caption), picture, scale, class_="chart")


def waveform(samples: NDArray[np.float32], said: str) -> Html:
    """Return the envelope of float32 [num_samples] in [-1, 1] as SVG, scaled to its own peak; `said` is its text."""
    num_columns = min(300, max(1, len(samples)))
    edges = np.linspace(0, len(samples), num_columns + 1).astype(int)[:-1]
    lows = np.minimum.reduceat(samples, edges) if len(samples) else np.zeros(1)
    highs = np.maximum.reduceat(samples, edges) if len(samples) else np.zeros(1)
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-6)
    upper = [f"{2 * place},{40 - 38 * value / peak:.1f}" for place, value in enumerate(highs.tolist())]
    lower = [f"{2 * place},{40.6 - 38 * value / peak:.1f}" for place, value in enumerate(lows.tolist())]
    outline = tag("polygon", points=" ".join([*upper, *lower[::-1]]))
    box = f"0 0 {2 * max(1, len(upper) - 1)} 80"
    return tag("svg", outline, viewBox=box, preserveAspectRatio="none", role="img", aria_label=said, class_="wave")


def pairs(rows: Sequence[tuple[object, object]]) -> Html:
    """Return names and values as a description list; values that are no `Html` are escaped."""
    return tag("dl", *(join(tag("dt", key), tag("dd", value)) for key, value in rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> Html:
    """Return a table that scrolls by itself where it is too wide."""
    head = tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    whole = tag("table", tag("caption", caption), head, body)
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)
