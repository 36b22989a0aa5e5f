"""One example as HTML: its pictures, strips, tiles, sounds and texts, its label, and what stands beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encode import decode_flac, decode_still
from ..errors import ConfigError
from ..features import ENVELOPE, Feature, Features
from ..sound import log_mel
from ..tokenizer import Tokenizer
from ..transforms import join_tiles, unpack_mask
from . import pictures
from .charts import pairs, waveform
from .markup import Html, escape, join, name, shorten, tag
from .odd import Pick
from .sample import Row
from .tokens import token_text

_PICTURE_PX, _FRAME_PX, _TILE_PX = 224, 112, 96
_MAX_FRAMES = 32
_MAX_TEXT_CHARS = 1200
_MAX_VALUE_CHARS = 160
#: Columns with a mask, and the columns that say its grid; a mask without them has a bit a pixel.
_MASKS = ("mask_bits", "mask")
_TOKEN_COLUMNS = frozenset({"input_ids", "labels", "attention_mask", "token_type_ids", "word_starts"})


@dataclass
class Cells:
    """Writes examples of one dataset.

    Args:
        features: columns of the rows, envelope included.
        tokenizer: of a text task, or None.
        audio_budget_bytes: sounds are embedded until they have taken this much; later ones are shown, not played.
    """

    features: Features
    tokenizer: Tokenizer | None = None
    audio_budget_bytes: int = 3_000_000
    #: Why texts are shown as numbers, where they are.
    notes: list[str] = field(default_factory=list)

    def card(self, pick: Pick) -> Html:
        """Return one example as an article."""
        row = pick.row
        badges = [tag("span", reason, class_="badge") for reason in pick.reasons]
        has_label = bool(self._labels(row))
        lead = tag("span", "label ", class_="dim") if has_label else ""
        title = tag("h3", tag("span", lead, self.label_text(row)), *badges)
        return tag(
            "article",
            title,
            *self.figures(row),
            tag("p", name(shorten(str(row["source_key"]), 120)), class_="dim"),
            tag("details", tag("summary", "all columns"), self._values(row)),
            class_="odd" if pick.reasons else None,
        )

    def label_text(self, row: Row) -> str:
        """Return the example's label as people read it, or its split where it has none."""
        return shorten(" · ".join(self._labels(row)) or f"{row['split']} example", 80)

    def _labels(self, row: Row) -> list[str]:
        parts = []
        for column in self.features.with_role("label"):
            feature = self.features[column]
            if feature.shape or feature.kind != "value" or (column == "label" and "label_name" in self.features):
                continue
            shown = f"{row[column]:.3f}" if isinstance(row[column], float) else str(row[column])
            parts.append(shown if column in ("label", "label_name") else f"{column} {shown}")
        return parts

    def figures(self, row: Row) -> Iterator[Html]:
        """Yield what can be looked at: pictures side by side, strips, tiles, sounds, texts."""
        side_by_side: list[Html] = []
        for column, feature in self.features:
            cell = row[column]
            if cell is None or column in ENVELOPE:
                continue
            if feature.kind == "image" and not feature.shape:
                side_by_side += self._pictures(row, column, cell)
            elif feature.kind == "image":
                yield from self._stills(row, column, feature, cell)
            elif feature.kind == "audio":
                sounds = cell if feature.shape else [cell]
                yield from (self._sound(row, column, feature, sound) for sound in sounds)
            elif column == "input_ids":
                yield self._tokens(row)
            elif feature.dtype == "string" and feature.role == "input" and not feature.shape:
                yield tag("p", shorten(cell, _MAX_TEXT_CHARS), class_="text", dir="auto")
        if side_by_side:
            yield tag("div", *side_by_side, class_="media")

    @property
    def _has_one_picture(self) -> bool:
        return sum(feature.kind == "image" for _, feature in self.features) == 1

    def _alt(self, row: Row, column: str) -> str:
        return f"{column} of {shorten(str(row['source_key']), 80)}, {self.label_text(row)}"

    def _pictures(self, row: Row, column: str, cell: Mapping[str, Any]) -> Iterator[Html]:
        stored = cell["bytes"]
        mask = mask_of(row, pictures.size_px(stored))
        alt = self._alt(row, column)
        if mask is not None:
            shown = pictures.pixels_uri(pictures.masked(stored, mask), _PICTURE_PX)
            yield _figure(shown, f"{alt}, hidden places hatched", f"hidden: {mask.mean():.0%}")
        yield _figure(pictures.thumbnail(stored, _PICTURE_PX), alt, "" if self._has_one_picture else column)

    def _stills(self, row: Row, column: str, feature: Feature, cell: Any) -> Iterator[Html]:
        if len(feature.shape) > 1:
            for place, entry in enumerate(cell):
                inner = Feature("image", feature.role, shape=feature.shape[1:])
                times = _times(self.features, row, column, feature.shape)
                yield tag("p", f"{column} {place + 1} of {len(cell)}", class_="dim")
                yield self._strip(row, f"{column} {place + 1}", inner, entry, times[place] if times else None)
        elif (order := row.get("permutation")) is not None and _is_puzzle(order, cell):
            yield self._tiles(row, column, order, cell)
        else:
            yield self._strip(row, column, feature, cell, _times(self.features, row, column, feature.shape))

    def _strip(self, row: Row, column: str, feature: Feature, cells: Any, times: Any) -> Html:
        if len(feature.shape) > 1:
            cells, times = [still for entry in cells for still in entry], None
        shown = []
        for place, cell in enumerate(cells[:_MAX_FRAMES]):
            stored = cell["bytes"]
            mask = mask_of(row, pictures.size_px(stored))
            if mask is None:
                uri = pictures.thumbnail(stored, _FRAME_PX)
            else:
                uri = pictures.pixels_uri(pictures.masked(stored, mask), _FRAME_PX)
            at = f"{times[place] / 1e6:.3f} s" if times else str(place + 1)
            shown.append(_figure(uri, f"{column} {place + 1} of {len(cells)}, {self._alt(row, column)}", at))
        if len(cells) > _MAX_FRAMES:
            shown.append(tag("p", f"… {len(cells) - _MAX_FRAMES} more", class_="dim"))
        return tag("div", *shown, class_="media strip")

    def _tiles(self, row: Row, column: str, order: Any, cells: Any) -> Html:
        side = math.isqrt(len(cells))
        shown = [
            _figure(
                pictures.thumbnail(cell["bytes"], _TILE_PX),
                f"tile {place + 1} as shown, of cell {order[place] + 1}",
                f"cell {order[place] + 1}",
            )
            for place, cell in enumerate(cells)
        ]
        stills = [decode_still(cell["bytes"]) for cell in cells]
        in_place = np.stack([stills[list(order).index(cell)] for cell in range(len(order))])
        solved = pictures.pixels_uri(join_tiles(in_place, side, side), _PICTURE_PX)
        puzzle = tag("div", *shown, class_=f"tiles side{side}")
        listed = ", ".join(str(cell + 1) for cell in order)
        return tag(
            "div",
            tag("figure", puzzle, tag("figcaption", f"as shown: cells {listed}")),
            _figure(solved, f"{column} put in place, {self._alt(row, column)}", "put in place"),
            class_="media",
        )

    def _sound(self, row: Row, column: str, feature: Feature, cell: Mapping[str, Any]) -> Html:
        samples, rate = decode_flac(cell["bytes"]), feature.sample_rate_hz
        seconds = len(samples) / rate
        said = f"{column}, {seconds:.2f} s"
        levels = log_mel(
            samples,
            rate,
            num_mels=row.get("n_mels", 80),
            window_ms=row.get("win_ms", 25),
            hop_ms=row.get("hop_ms", 10),
        )
        parts = [tag("figcaption", said), waveform(samples, f"waveform of {self._alt(row, column)}")]
        alt = f"spectrogram of {self._alt(row, column)}"
        hidden = spectrogram_mask(row)
        if hidden is not None:
            parts += _spectrogram(pictures.spectrogram(levels, hidden), f"{alt}, as seen")
        parts += _spectrogram(pictures.spectrogram(levels), alt)
        if len(cell["bytes"]) <= self.audio_budget_bytes:
            self.audio_budget_bytes -= len(cell["bytes"])
            uri = pictures.data_uri(cell["bytes"], "audio/flac")
            parts.append(tag("audio", controls=True, preload="none", src=uri, aria_label=said))
        return tag("figure", *parts, class_="sound")

    def _tokens(self, row: Row) -> Html:
        if self.tokenizer is not None:
            try:
                return token_text(row, self.tokenizer)
            except ConfigError as error:
                self.tokenizer = None
                self.notes.append(f"Tokens are shown as numbers: {error}")
        ids = " ".join(map(str, row["input_ids"]))
        return tag("p", shorten(ids, _MAX_TEXT_CHARS), class_="text")

    def _values(self, row: Row) -> Html:
        rows = []
        for column, feature in self.features:
            if feature.kind in ("image", "audio") or column in _TOKEN_COLUMNS:
                continue
            text = shorten(_value_text(row[column]), _MAX_VALUE_CHARS)
            rows.append((column, join(tag("bdi", text), escape(f" {feature.unit}" if feature.unit else ""))))
        return pairs(rows)


def mask_of(row: Row, size_px: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return a row's mask over its picture (True = hidden), as the grid it is stored in; None where there is none.

    `size_px`: width and height of the picture, for masks of one bit a pixel.
    """
    bits = next((row[column] for column in _MASKS if isinstance(row.get(column), bytes)), None)
    shape = (row["grid_h"], row["grid_w"]) if {"grid_h", "grid_w"} <= row.keys() else size_px[::-1]
    if bits is None or len(bits) != (math.prod(shape) + 7) // 8:
        return None
    return unpack_mask(bits, shape)


def spectrogram_mask(row: Row) -> NDArray[np.bool_] | None:
    """Return a row's mask over its spectrogram, bool [frames, mel bins], True = hidden; None where there is none."""
    if not {"mask_bits", "grid_t", "grid_f", "patch_t", "patch_f"} <= row.keys():
        return None
    mask = unpack_mask(row["mask_bits"], (row["grid_t"], row["grid_f"]))
    return mask.repeat(row["patch_t"], axis=0).repeat(row["patch_f"], axis=1)


def _figure(uri: str, alt: str, caption: str) -> Html:
    picture = tag("img", src=uri, alt=alt, decoding="async")
    return tag("figure", picture, *([tag("figcaption", caption)] if caption else []))


def _spectrogram(png: bytes, alt: str) -> Iterator[Html]:
    if png:
        yield tag("img", src=pictures.data_uri(png, "image/png"), alt=alt)


def _is_puzzle(order: Any, cells: Any) -> bool:
    """Say whether `order` puts a square of tiles in place."""
    return math.isqrt(len(cells)) ** 2 == len(cells) and sorted(order) == list(range(len(cells)))


def _times(features: Features, row: Row, column: str, shape: tuple[int | None, ...]) -> Any:
    """Return the column of times in microseconds that has the stills' shape: of equals, the one named like them."""
    fitting = [
        other
        for other, feature in features
        if feature.unit == "us" and feature.shape == shape and "pts" in other and row[other] is not None
    ]
    alike = [other for other in fitting if other.split("_")[0] == column.split("_", maxsplit=1)[0]]
    return row[(alike or fitting)[0]] if fitting else None


def _value_text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes: {value[:16].hex()}{'…' if len(value) > 16 else ''}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(_value_text(entry) for entry in value[:64]) + ("…]" if len(value) > 64 else "]")
    return str(value)
