"""`unlabeled preview`: a dataset as one static HTML page."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..pipeline.errors import ConfigError
from ..pipeline.manifest import require_manifest
from ..pipeline.preview.page import render
from ..pipeline.storage import Store, StoreOptions

NUM_EXAMPLES = 24


class PreviewReport(BaseModel):
    """What was written, and from how much."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    task: str
    out: str
    num_bytes: int
    num_examples: int
    num_odd: int
    num_rows_read: int
    num_row_groups_read: int
    seconds: float


def preview(
    dataset: str,
    out: str | Path,
    *,
    version: int | None = None,
    num_examples: int = NUM_EXAMPLES,
    store_options: StoreOptions | None = None,
) -> PreviewReport:
    """Write the page of one version, the newest unless `version` is given, replacing the file `out`.

    The page is deterministic; of shards at most 16 row groups or 64 MB are read, and the labels of 32.

    Raises:
        ConfigError: `out` is no place for a file, or `num_examples` is less than 1.
        NotFound: nothing is published there.
        CorruptData: stored bytes do not match their checksum.
    """
    began = time.monotonic()
    path = Path(out)
    if num_examples < 1:
        raise ConfigError(f"`--examples` must be at least 1, but is {num_examples}.")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"`--out`: found {str(out)!r}, expected the name of a file in a folder that exists.")
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    page = render(store, manifest, num_examples=num_examples)
    data = page.html.encode("utf-8")
    _replace(path, data)
    return PreviewReport(
        dataset=store.uri,
        version=manifest.version,
        task=manifest.task,
        out=str(out),
        num_bytes=len(data),
        num_examples=page.num_examples,
        num_odd=page.num_odd,
        num_rows_read=page.num_rows_read,
        num_row_groups_read=page.num_row_groups_read,
        seconds=round(time.monotonic() - began, 3),
    )


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
