"""The inventory of a retry: rejected sources looked at anew, all others as they stood."""

from __future__ import annotations

from pathlib import Path

from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.retry import retry_inventory
from unlabeled.pipeline.storage import Store

from tests import planted


def test_only_rejected_sources_are_looked_at(tmp_path: Path) -> None:
    sources = planted.photographs(tmp_path / "in")
    (sources / "bad.jpg").write_bytes(b"no picture")
    store = planted.build("image_rotation", sources, tmp_path / "out", side_px=32)
    (sources / "0.jpg").write_bytes(b"changed since")
    (sources / "bad.jpg").write_bytes(b"still no picture")
    manifest = require_manifest(store)
    inputs = Store.open(str(sources))
    found = retry_inventory(store, manifest, inputs)
    before = {row["source_key"]: row for row in load_tables(store, manifest, "parts").parts.to_pylist()}
    now = {row["source_key"]: row for row in found.sources.to_pylist()}
    assert now["0.jpg"]["etag"] == before["0.jpg"]["etag"]
    assert now["bad.jpg"]["num_bytes"] == len(b"still no picture")
    assert found.retry_keys == frozenset()
    assert retry_inventory(store, manifest, inputs, everything=True).retry_keys == {"bad.jpg"}
