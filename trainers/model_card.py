"""The model card: README.md beside an encoder, which says what it was trained on, how, and how well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ..pipeline.manifest import Manifest
from .encoders.spec import EncoderSpec
from .run import TrainedOn


def model_card(
    manifest: Manifest,
    data: Sequence[TrainedOn],
    spec: EncoderSpec,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
) -> str:
    """Return the card as Markdown with a YAML header.

    Args:
        manifest: of the first dataset's version that was trained on.
        data: all that was trained on.
        spec: of the encoder.
        settings: all of the run's, resolved.
        results: metrics and what was computed on, by name.
    """
    header = {"library_name": "transformers", "tags": ["self-supervised", manifest.task, spec.name]}
    rows = "\n".join(f"| {name} | {_shown(value)} |" for name, value in results.items())
    datasets = "\n".join(
        f"- dataset: `{at.dataset}`, version {at.version}, {at.num_examples:,} examples, share {at.share}\n"
        f"- its fingerprint: `{at.fingerprint}`"
        for at in data
    )
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {spec.name}, pretrained by {manifest.task}

An encoder for {spec.medium} without a head, pretrained on labels that come from the data itself, by
[unlabeled](https://github.com/unlabeled-dev/unlabeled). No human label was used.

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("path/of/this/folder")
```

or, with preprocessing and layers by name:

```python
from unlabeled.trainers.encoders.build import load_encoder

encoder = load_encoder("path/of/this/folder")
features = encoder(encoder.preprocess(media)).pooled
```

## Data

{datasets}
- pretext task: `{manifest.task}` version {manifest.recipe.task.version} ({manifest.objective})

## Results

| | |
|---|---|
{rows}

## Inputs

```json
{json.dumps(spec.model_dump(mode="json"), indent=2)}
```

## Settings

```json
{json.dumps(settings, indent=2, sort_keys=True)}
```
"""


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
