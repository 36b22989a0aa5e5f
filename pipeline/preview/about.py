"""What stands below the examples: what was left out and why, leakage, limits, columns, settings, how to load."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

import pyarrow.compute as pc

from .. import facts as said
from ..facts import Facts
from ..manifest import Manifest, Tables
from ..serial_arrow import sorted_by
from ..storage import Store
from . import charts
from .markup import Html, escape, join, name, shorten, tag

_MAX_REJECTS = 50
_MAX_KEYS = 5


def section(key: str, title: str, *children: object) -> Html:
    """Return a section of the page that `#key` leads to."""
    return tag("section", tag("h2", title, id=key), *children)


def left_out(manifest: Manifest, tables: Tables) -> Html:
    """Return what no example was made of, by reason, with some of the keys and messages."""
    counts = manifest.counts
    if not counts.num_filtered + counts.num_rejected:
        return section("left-out", "Left out", tag("p", "Nothing: every source is used."))
    reasons = []
    if counts.filtered_by_reason:
        caption = f"{counts.num_filtered:,} filtered: sound, but no example for this task"
        reasons.append(charts.bars(counts.filtered_by_reason, caption))
    if counts.rejected_by_reason:
        caption = f"{counts.num_rejected:,} rejected: they could not be used"
        reasons.append(charts.bars(counts.rejected_by_reason, caption))
    return section(
        "left-out",
        "Left out",
        tag("div", *reasons, class_="charts"),
        _filtered_keys(tables),
        _rejects(tables),
    )


def _filtered_keys(tables: Tables) -> Html:
    filtered = tables.parts.filter(pc.equal(tables.parts["status"], "filtered")).select(["reason", "source_key"])
    keys: dict[str, list[str]] = defaultdict(list)
    for row in filtered.to_pylist():
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
    listed = sorted_by(tables.rejects, "reason", "source_key")
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


def leakage(facts: Facts) -> Html:
    """Return what the version's audit found, what fails first."""
    if facts.audit is None:
        return section(
            "leakage",
            "Leakage",
            tag("p", "Whether cheap cues tell the label is not known: ", _marked(facts.audit_note)),
        )
    audit = facts.audit
    children = [
        tag("p", "Can cheap cues tell the label? ", tag("b", said.audit_text(audit))),
        tag("p", "Does the label mean anything here? ", tag("b", audit.meaning.verdict), f": {audit.meaning.message}"),
    ]
    rows = [
        (
            name(one.family),
            name(one.target),
            f"{one.score:.3f} [{one.low:.3f}, {one.high:.3f}]",
            one.verdict,
            one.about,
        )
        for one in audit.worst_first
    ]
    if rows:
        children.append(
            charts.table(("family", "label", "score", "verdict", "looks at"), rows, "Families of cheap cues")
        )
    solved = [
        (name(one.predictor), f"{one.solved:.1%} [{one.solved_low:.1%}, {one.solved_high:.1%}]", one.verdict)
        for one in audit.trivial
    ]
    if solved:
        children.append(
            charts.table(("predictor", "examples solved", "verdict"), solved, "What nothing learnt solves")
        )
    return section("leakage", "Leakage", *children)


def limits(manifest: Manifest) -> Html:
    """Return what one must not conclude from the version."""
    return section(
        "limits", "Limits", tag("ul", *(tag("li", _marked(sentence)) for sentence in said.limits(manifest)))
    )


def _marked(text: str) -> Html:
    """Return text with what stands between backquotes as code."""
    return join(*(tag("code", part) if place % 2 else part for place, part in enumerate(text.split("`"))))


def columns(manifest: Manifest) -> Html:
    """Return the columns of the rows with type, role, unit and meaning."""
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
    return section("columns", "Columns", charts.table(("column", "type", "role", "unit", "meaning"), rows, "Columns"))


def _type_text(kind: str, dtype: str, shape: Sequence[int | None]) -> str:
    lengths = "".join(f"[{'' if length is None else length}]" for length in shape)
    return (dtype if kind == "value" else kind) + lengths


def settings(manifest: Manifest, facts: Facts) -> Html:
    """Return what decided the content: settings, seed, versions, fingerprint; and the licence, which did not."""
    recipe = manifest.recipe
    known: list[tuple[object, object]] = [
        ("fingerprint", name(manifest.fingerprint)),
        ("recipe", name(manifest.recipe_hash)),
        ("input", name(manifest.input_uri)),
        ("licence", name(facts.licence) if facts.licence else "not given"),
        ("task version", recipe.task.version),
        ("seed", recipe.seed),
        ("groups", said.groups_text(recipe)),
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
    return section("settings", "Settings", *children)


def loading(store: Store) -> Html:
    """Return how the version is loaded."""
    if store.is_local:
        code = f"from datasets import load_dataset\n\ndataset = load_dataset({store.uri!r})"
    else:
        code = (
            "from subprocess import check_output\n\nfrom datasets import load_dataset\n\n"
            f'files = check_output(["unlabeled", "show", {store.uri!r}, "--files"], text=True).split("\\n")[:-1]\n'
            'dataset = load_dataset("parquet", data_files=files)'
        )
    note = "Read what the version names, never the folder by a pattern: it may hold files that no version names."
    return section("load", "How to load", tag("pre", escape(code)), tag("p", note, class_="dim"))
