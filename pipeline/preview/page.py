"""The page of a version: examples, counts, what was left out and why, settings. One file, nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from ..errors import CorruptData
from ..features import Features
from ..manifest import Manifest, Tables, load_tables
from ..rng import sha256_hex
from ..storage import Store
from ..tokenizer import ASSET, Tokenizer
from . import charts
from .cells import Cells
from .markup import Html, bytes_text, escape, join, name, shorten, tag
from .odd import choose, low_cardinality
from .sample import Sample, media_num_bytes, read_sample
from .style import CSS
from .tokens import LEGEND

#: Examples are added until the page has this size: it opens in seconds everywhere.
MAX_SHEET_BYTES = 12_000_000
#: Above this many parts, their table is not read: counts by reason stand in the manifest.
_MAX_PARTS = 200_000
_MAX_REJECTS = 50
_MAX_KEYS = 5


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
    features = manifest.typed_features()
    sample = read_sample(store, manifest, tables)
    picks = choose(features, sample, num_examples)
    cells = Cells(features, _tokenizer(store, manifest))
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
        _left_out(manifest, tables),
        _columns(manifest),
        _settings(manifest),
        _loading(store),
    )
    num_odd = sum(bool(pick.reasons) for pick in picks[: len(cards)])
    return Page(_document(manifest, body), len(cards), num_odd, len(sample.rows), sample.num_row_groups)


def _document(manifest: Manifest, body: Html) -> str:
    """Return the document; its policy allows what is in the file and nothing else: no script, no request."""
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{manifest.task}, version {manifest.version}"),
        tag("style", Html(CSS)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en")


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


def _section(key: str, title: str, *children: object) -> Html:
    return tag("section", tag("h2", title, id=key), *children)


def _examples(manifest: Manifest, cards: Sequence[Html], notes: Sequence[str]) -> Html:
    features = manifest.typed_features()
    if not cards:
        return _section("examples", "Examples", tag("p", "This version holds no example.", class_="dim"))
    is_wide = any(
        feature.kind == "audio" or (feature.kind == "image" and feature.shape) or column == "input_ids"
        for column, feature in features
    )
    has_two = sum(feature.kind == "image" for _, feature in features) > 1 or {"mask", "mask_bits"} & set(
        features.names
    )
    legend = [tag("p", LEGEND)] if {"input_ids", "labels"} <= set(features.names) else []
    if {"mask", "mask_bits"} & set(features.names):
        legend.append(tag("p", "What is hidden from the model is hatched in grey.", class_="dim"))
    return _section(
        "examples",
        "Examples, the odd ones first",
        *legend,
        *(tag("p", note, class_="dim") for note in notes),
        tag("div", *cards, class_="sheet wide" if is_wide or has_two else "sheet"),
    )


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
        return _section("labels", "Labels", tag("p", "The label is part of the example itself.", class_="dim"))
    return _section("labels", "Labels", tag("div", *children, class_="charts"))


def _sizes(features: Features, sample: Sample) -> Html:
    if not sample.rows:
        return Html("")
    stored = [media_num_bytes(features, row) for row in sample.rows]
    of_sources = {row["source_key"]: row["source_num_bytes"] for row in sample.rows}
    seen = f"{len(stored):,} examples, {len(of_sources):,} sources"
    return _section(
        "sizes",
        "Sizes",
        tag(
            "div",
            charts.histogram(stored, "Bytes of an example's media or text", bytes_text),
            charts.histogram(list(of_sources.values()), "Bytes of a source", bytes_text),
            class_="charts",
        ),
        tag("p", f"From a sample: {seen}.", class_="dim"),
    )


def _left_out(manifest: Manifest, tables: Tables) -> Html:
    counts = manifest.counts
    if not counts.num_filtered + counts.num_rejected:
        return _section("left-out", "Left out", tag("p", "Nothing: every source is used."))
    reasons = []
    if counts.filtered_by_reason:
        caption = f"{counts.num_filtered:,} filtered: sound, but no example for this task"
        reasons.append(charts.bars(counts.filtered_by_reason, caption))
    if counts.rejected_by_reason:
        caption = f"{counts.num_rejected:,} rejected: they could not be used"
        reasons.append(charts.bars(counts.rejected_by_reason, caption))
    return _section(
        "left-out",
        "Left out",
        tag("div", *reasons, class_="charts"),
        _filtered_keys(tables),
        _rejects(tables),
    )


def _filtered_keys(tables: Tables) -> Html:
    filtered = tables.parts.filter(pc.equal(tables.parts["status"], "filtered")).select(["reason", "source_key"])
    keys: dict[str, list[str]] = defaultdict(list)
    for row in filtered.slice(0, _MAX_PARTS).to_pylist():
        if len(keys[row["reason"]]) < _MAX_KEYS:
            keys[row["reason"]].append(row["source_key"])
    if not keys:
        return Html("")
    rows = [
        (name(reason), join(*(tag("div", name(shorten(key, 120))) for key in some)))
        for reason, some in sorted(keys.items())
    ]
    return charts.table(("reason", "some of the sources"), rows, "Filtered")


def _rejects(tables: Tables) -> Html:
    listed = tables.rejects.sort_by([("reason", "ascending"), ("source_key", "ascending")])
    if not listed.num_rows:
        return Html("")
    rows = [
        (
            name(row["reason"]),
            name(shorten(row["source_key"], 120)),
            row["stage"],
            "for good" if row["is_permanent"] else "is tried again",
            shorten(row["message"], 240),
        )
        for row in listed.slice(0, _MAX_REJECTS).to_pylist()
    ]
    shown = f"Rejects, {len(rows):,} of {listed.num_rows:,}" if len(rows) < listed.num_rows else "Rejects"
    return charts.table(("reason", "source", "stage", "verdict", "message"), rows, shown)


def _columns(manifest: Manifest) -> Html:
    rows = [
        (
            tag("code", column),
            _type_text(feature.kind, feature.dtype, feature.shape),
            feature.role,
            feature.unit,
            feature.doc,
        )
        for column, feature in manifest.typed_features()
    ]
    return _section("columns", "Columns", charts.table(("column", "type", "role", "unit", "meaning"), rows, "Columns"))


def _type_text(kind: str, dtype: str, shape: Sequence[int | None]) -> str:
    lengths = "".join(f"[{'' if length is None else length}]" for length in shape)
    return (dtype if kind == "value" else kind) + lengths


def _settings(manifest: Manifest) -> Html:
    recipe = manifest.recipe
    known: list[tuple[object, object]] = [
        ("fingerprint", name(manifest.fingerprint)),
        ("recipe", name(manifest.recipe_hash)),
        ("input", name(manifest.input_uri)),
        ("task version", recipe.task.version),
        ("seed", recipe.seed),
        ("groups", recipe.group_by or "every source by itself"),
        ("share of val", recipe.val_fraction),
        ("made with", ", ".join(f"{key} {version}" for key, version in sorted(manifest.codec_versions.items()))),
        *((f"asset {key}", name(sha256)) for key, sha256 in sorted(manifest.assets.items())),
    ]
    task = [(key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(recipe.task.settings.items())]
    children = [charts.pairs(known)]
    if task:
        children.append(tag("h3", "Settings of the task"))
        children.append(charts.pairs(task))
    everything = json.dumps(recipe.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
    children.append(tag("details", tag("summary", "The whole recipe"), tag("pre", everything)))
    return _section("settings", "Settings", *children)


def _loading(store: Store) -> Html:
    if store.is_local:
        code = f"from datasets import load_dataset\n\ndataset = load_dataset({store.uri!r})"
    else:
        code = (
            "from subprocess import check_output\n\nfrom datasets import load_dataset\n\n"
            f'files = check_output(["unlabeled", "show", {store.uri!r}, "--files"], text=True).split("\\n")[:-1]\n'
            'dataset = load_dataset("parquet", data_files=files)'
        )
    note = "Read what the version names, never the folder by a pattern: it may hold files that no version names."
    return _section("load", "How to load", tag("pre", escape(code)), tag("p", note, class_="dim"))


def _tokenizer(store: Store, manifest: Manifest) -> Tokenizer | None:
    if ASSET not in manifest.assets:
        return None
    sha256 = manifest.assets[ASSET]
    data = store.get(f"_assets/{sha256}")
    if sha256_hex(data) != sha256:
        raise CorruptData(f"_assets/{sha256}: its bytes do not match its name; the file is damaged.")
    return Tokenizer(data)
