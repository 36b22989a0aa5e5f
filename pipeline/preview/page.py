"""The page of a version: examples, counts, what was left out and why, settings. One file, nothing is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import CorruptData
from ..facts import Facts, kept_card, licence_in
from ..features import Features
from ..manifest import Manifest, load_tables
from ..rng import sha256_hex
from ..storage import Store
from ..tokenizer import ASSET, Tokenizer
from . import about, charts
from .about import section
from .cells import Cells
from .markup import Html, bytes_text, join, name, tag
from .odd import choose, low_cardinality
from .sample import Sample, read_sample, size, size_text
from .style import document
from .tokens import LEGEND

#: Examples are added until the page has this size: it opens in seconds everywhere.
MAX_SHEET_BYTES = 12_000_000
#: Above this many parts, their table is not read: counts by reason stand in the manifest.
_MAX_PARTS = 200_000


@dataclass(frozen=True)
class Page:
    """A finished page. `html`: the whole document; the rest says what it shows and what was read for it."""

    html: str
    num_examples: int
    num_odd: int
    num_rows_read: int
    num_row_groups_read: int


def render(store: Store, manifest: Manifest, *, num_examples: int) -> Page:
    """Return the page of one version.

    Raises:
        CorruptData: stored bytes do not match their checksum.
        StoreError: the store failed, or a file that the version names is gone.
    """
    num_parts = sum(file.num_rows for file in manifest.tables if file.kind == "parts")
    kinds = ("shards", "row_groups", "rejects", *(("parts",) if num_parts <= _MAX_PARTS else ()))
    tables = load_tables(store, manifest, *kinds)
    features, rendering = manifest.typed_features(), manifest.typed_rendering()
    sample = read_sample(store, manifest, tables)
    picks = choose(features, sample, num_examples)
    if rendering is not None:
        picks = [replace(pick, row=rendering.row(features, pick.row)) for pick in picks]
    cells = Cells(manifest.seen_features(), _tokenizer(store, manifest))
    facts = Facts.of(store, manifest.version, licence_in(kept_card(store)))
    cards: list[Html] = []
    num_bytes = 0
    for pick in picks:
        card = cells.card(pick)
        num_bytes += len(card)
        if cards and num_bytes > MAX_SHEET_BYTES:
            break
        cards.append(card)
    body = join(
        _head(store, manifest),
        _examples(manifest, cards, cells.notes),
        _labels(features, manifest, sample),
        _sizes(features, sample),
        about.left_out(manifest, tables),
        about.leakage(facts),
        about.limits(manifest),
        about.columns(manifest),
        about.settings(manifest, facts),
        about.loading(store),
    )
    num_odd = sum(bool(pick.reasons) for pick in picks[: len(cards)])
    whole = document(f"{manifest.task}, version {manifest.version}", body)
    return Page(whole, len(cards), num_odd, len(sample.rows), sample.num_row_groups)


def _head(store: Store, manifest: Manifest) -> Html:
    counts = manifest.counts
    facts = [
        (f"{counts.num_examples:,}", "examples"),
        (f"{counts.num_sources:,}", "sources"),
        *(
            (f"{split.num_examples:,}", f"in {key}, {_shards(split.num_shards)}")
            for key, split in manifest.splits.items()
        ),
        (bytes_text(counts.num_bytes), f"in {_shards(counts.num_shards)}"),
    ]
    links = [("examples", "Examples"), ("labels", "Labels"), ("sizes", "Sizes"), ("left-out", "Left out")]
    links += [("leakage", "Leakage"), ("limits", "Limits")]
    links += [("columns", "Columns"), ("settings", "Settings"), ("load", "How to load")]
    return join(
        tag("h1", manifest.task),
        tag("p", f"{manifest.objective} on {manifest.modality} · version {manifest.version} of ", name(store.uri)),
        tag("nav", *(tag("a", text, href=f"#{key}") for key, text in links), aria_label="Sections"),
        tag("div", *(tag("div", tag("b", number), text, class_="fact") for number, text in facts), class_="facts"),
        tag(
            "p",
            f"{counts.num_sources:,} sources = {counts.num_used:,} used + {counts.num_filtered:,} filtered + "
            f"{counts.num_rejected:,} rejected",
        ),
    )


def _shards(number: int) -> str:
    return "1 shard" if number == 1 else f"{number:,} shards"


def _examples(manifest: Manifest, cards: Sequence[Html], notes: Sequence[str]) -> Html:
    features = manifest.seen_features()
    if not cards:
        return section("examples", "Examples", tag("p", "This version holds no example.", class_="dim"))
    has_mask = bool({"mask", "mask_bits"} & set(features.names))
    legend = [tag("p", LEGEND)] if {"input_ids", "labels"} <= set(features.names) else []
    if has_mask:
        legend.append(tag("p", "What is hidden from the model is hatched in grey.", class_="dim"))
    return section(
        "examples",
        "Examples, the odd ones first",
        *legend,
        *(tag("p", note, class_="dim") for note in notes),
        tag("div", *cards, class_=f"sheet {_width(features, has_mask=has_mask)}"),
    )


def _width(features: Features, *, has_mask: bool) -> str:
    """Return how wide a card must be: wide for strips, sounds and texts, a pair for two pictures, else one."""
    kinds = [(column, feature) for column, feature in features if feature.kind in ("image", "audio")]
    if "input_ids" in features or any(feature.shape or feature.kind == "audio" for _, feature in kinds):
        return "wide"
    return "pair" if has_mask or len(kinds) > 1 else "one"


def _labels(features: Features, manifest: Manifest, sample: Sample) -> Html:
    children: list[Html] = []
    seen = f"in {sample.num_label_rows:,} of {manifest.counts.num_examples:,} examples"
    if sample.labels and all(isinstance(label, float) for label in sample.labels):
        values = [label for label, number in sample.labels.items() for _ in range(number)]
        children.append(charts.histogram(values, f"Label {seen}", "{:.3g}".format))
    elif sample.labels:
        counts = {str(key): number for key, number in sample.labels.items()}
        if features["label"].classes:
            counts = {key: counts.get(key, 0) for key in features["label"].classes}
        children.append(charts.bars(counts, f"Labels {seen}", by_count=not features["label"].classes))
    for column, values_of in low_cardinality(features, sample.rows).items():
        children.append(charts.bars(values_of, f"{column} in {len(sample.rows):,} examples"))
    if not children:
        return section("labels", "Labels", tag("p", "The label is part of the example itself.", class_="dim"))
    return section("labels", "Labels", tag("div", *children, class_="charts"))


def _sizes(features: Features, sample: Sample) -> Html:
    if not sample.rows:
        return Html("")
    stored = [size(features, row) for row in sample.rows]
    of_sources = {row["source_key"]: row["source_num_bytes"] for row in sample.rows}
    seen = f"{len(stored):,} examples, {len(of_sources):,} sources"
    return section(
        "sizes",
        "Sizes",
        tag(
            "div",
            charts.histogram(stored, "Size of an example", size_text(features)),
            charts.histogram(list(of_sources.values()), "Size of a source", bytes_text),
            class_="charts",
        ),
        tag("p", f"From a sample: {seen}.", class_="dim"),
    )


def _tokenizer(store: Store, manifest: Manifest) -> Tokenizer | None:
    if ASSET not in manifest.assets:
        return None
    sha256 = manifest.assets[ASSET]
    data = store.get(f"_assets/{sha256}")
    if sha256_hex(data) != sha256:
        raise CorruptData(f"_assets/{sha256}: its bytes do not match its name; the file is damaged.")
    return Tokenizer(data)
