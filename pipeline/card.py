"""The dataset card: README.md in the dataset, whose header makes a local `load_dataset` load exactly one version.

It is derived from the newest version and its audit, so nothing rests on it, but for one line: the licence lives here.
"""

from __future__ import annotations

import json

import yaml

from .audit.report import AuditReport, FamilyReport
from .facts import CARD, Facts, audit_text, groups_text, kept_card, licence_in, limits
from .manifest import Manifest, Tables, files_of
from .storage import Store


def repair_card(store: Store, manifest: Manifest, tables: Tables, licence: str | None = None) -> None:
    """Make the card that of the dataset's newest version, `manifest`; writes nothing where it is already.

    Args:
        store: the dataset's.
        manifest: the newest version.
        tables: its tables; `shards` are enough.
        licence: to be stated from now on; None leaves what the card states.
    """
    kept = kept_card(store)
    facts = Facts.of(store, manifest.version, licence or licence_in(kept))
    card = dataset_card(manifest, tables, facts).encode("utf-8", "replace")
    if card != kept:
        store.put(CARD, card)


def dataset_card(manifest: Manifest, tables: Tables, facts: Facts) -> str:
    """Return the card of a version as Markdown with a YAML header that lists the version's files, split by split."""
    data_files = [{"split": split, "path": files} for split in ("train", "val") if (files := files_of(tables, split))]
    # One line, and the first: `licence_in` reads it back.
    licence = yaml.safe_dump({"license": facts.licence}, allow_unicode=True, width=10**9) if facts.licence else ""
    header = {
        "configs": [{"config_name": "default", "data_files": data_files}],
        "tags": ["self-supervised", manifest.task],
    }
    counts = manifest.counts
    columns = "\n".join(
        f"| `{column['name']}` | {_type(column)} | {column['role']} | {column.get('doc', '')} |"
        for column in manifest.features
    )
    splits = "\n".join(
        f"| {name} | {split.num_examples:,} | {split.num_shards} | {split.num_bytes:,} |"
        for name, split in manifest.splits.items()
    )
    reasons = "\n".join(
        [f"- filtered, {reason}: {number:,}" for reason, number in counts.filtered_by_reason.items()]
        + [f"- rejected, {reason}: {number:,}" for reason, number in counts.rejected_by_reason.items()]
    )
    settings = json.dumps(manifest.recipe.task.settings, indent=2, sort_keys=True)
    return f"""---
{licence}{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---

# {manifest.task}: {counts.num_examples:,} examples from {counts.num_used:,} sources

Pretext task `{manifest.task}` version {manifest.recipe.task.version} ({manifest.objective}), made by
[unlabeled](https://github.com/unlabeled-dev/unlabeled). This card describes version {manifest.version}.

| split | examples | shards | bytes |
|---|---|---|---|
{splits}

Of {counts.num_sources:,} sources {counts.num_used:,} are used, {counts.num_filtered:,} filtered and
{counts.num_rejected:,} rejected.
{reasons}

- sources: {manifest.modality}, from {_code(manifest.input_uri)}
- licence: {_code(facts.licence) if facts.licence else "not given"}
- fingerprint: `{manifest.fingerprint}`
- seed: {manifest.recipe.seed}
- groups, which never straddle the splits: {groups_text(manifest.recipe, _code)}

## Leakage

{_leakage(facts)}

## Limits

{_bullets(limits(manifest))}

## Settings

```json
{settings}
```

## Columns

| column | type | role | meaning |
|---|---|---|---|
{columns}

## How to load

```python
from datasets import load_dataset

dataset = load_dataset("path/to/this/folder")
```

From a store, name the files: `load_dataset("parquet", data_files=...)` with what `unlabeled show DATASET --files`
prints. Do not read the folder by a pattern: it may hold files that no version names.
"""


def _leakage(facts: Facts) -> str:
    """Return what the audit found: whether cheap cues tell the label, and whether it means anything here."""
    if facts.audit is None:
        return f"Whether cheap cues tell the label is not known: {facts.audit_note}."
    audit = facts.audit
    paragraphs = [
        f"Can cheap cues tell the label? {_capital(audit_text(audit))}.",
        f"Does the label mean anything here? {_capital(audit.meaning.verdict)}: {audit.meaning.message}",
    ]
    return "\n\n".join([*paragraphs, *_families(audit), *_trivial(audit)])


def _families(audit: AuditReport) -> list[str]:
    if not audit.families:
        return []
    table = "\n".join(["| family | label | score | verdict |", "|---|---|---|---|", *map(_row, audit.worst_first)])
    note = "A score, here with its 95 % interval, is 0 at chance and 1 where a family of cues always tells the label."
    return [table, f"{note} Semantic cues are legitimate."]


def _row(one: FamilyReport) -> str:
    return f"| {one.family} | `{one.target}` | {one.score:.3f} [{one.low:.3f}, {one.high:.3f}] | {one.verdict} |"


def _trivial(audit: AuditReport) -> list[str]:
    if not audit.trivial:
        return []
    solved = [
        f"{one.predictor}, which has learnt nothing, solves {one.solved:.1%}: {one.verdict}" for one in audit.trivial
    ]
    return [_bullets(solved)]


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _code(text: str) -> str:
    """Return text as one line of code, whatever it holds."""
    line = " ".join(text.split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _type(column: dict[str, object]) -> str:
    name = str(column["dtype"] if column["kind"] == "value" else column["kind"])
    shape = column.get("shape", [])
    return f"list of {name}" if shape else name
