"""The dataset card: README.md in the dataset, whose header makes a local `load_dataset` load exactly one version."""

from __future__ import annotations

import json

import yaml

from .manifest import Manifest, Tables, files_of


def dataset_card(manifest: Manifest, tables: Tables) -> str:
    """Return the card of a version as Markdown with a YAML header that lists the version's files, split by split."""
    data_files = [{"split": split, "path": files} for split in ("train", "val") if (files := files_of(tables, split))]
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
{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---

# {manifest.task}: {counts.num_examples:,} examples from {counts.num_used:,} sources

Pretext task `{manifest.task}` version {manifest.recipe.task.version} ({manifest.objective}), made by
[unlabeled](https://github.com/unlabeled-dev/unlabeled). This card describes version {manifest.version}.

| split | examples | shards | bytes |
|---|---|---|---|
{splits}

Of {counts.num_sources:,} sources {counts.num_used:,} are used, {counts.num_filtered:,} filtered and
{counts.num_rejected:,} rejected.
{reasons}

- fingerprint: `{manifest.fingerprint}`
- seed: {manifest.recipe.seed}; groups: {manifest.recipe.group_by or "every source by itself"}

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


def _type(column: dict[str, object]) -> str:
    name = str(column["dtype"] if column["kind"] == "value" else column["kind"])
    shape = column.get("shape", [])
    return f"list of {name}" if shape else name
