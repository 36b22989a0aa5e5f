"""Collections of damaged, lying and hostile files: every one is accounted for, none crashes or hangs a decoder."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.errors import RejectReason
from unlabeled.pipeline.manifest import load_tables, require_manifest

from tests import planted
from tests.media_files import real_labels, real_media
from tests.small_datasets import fill

pytestmark = [pytest.mark.real_media, pytest.mark.slow]

#: Family -> a fitting task, its settings, one good source so that a version is published, how many files there are.
FAMILIES: dict[str, tuple[str, dict[str, Any], Any, int]] = {
    "images": ("image_rotation", {"side_px": 32, "upscale": "allow"}, planted.photographs, 1564),
    "audio": ("audio_same_clip", {"clip_seconds": 0.05}, planted.sounds, 213),
    "video": ("video_masked_tubes", {"side_px": 64, "num_frames": 2, "min_motion": 0}, planted.videos, 116),
}
DECODER_FAULTS = {RejectReason.DECODER_CRASH, RejectReason.DECODER_HANG, RejectReason.DECODER_MEMORY}
#: Why a file that another reader took as sound may be rejected: that reader stops at the first picture or at the
#: last good sample; we read to the end and hold the container to its word.
REASONS_OF_READABLE = {
    RejectReason.FORMAT_NOT_ALLOWED,
    RejectReason.TRUNCATED,
    RejectReason.CORRUPT,
    RejectReason.UNSUPPORTED_FEATURE,
    RejectReason.ZERO_DURATION,
    RejectReason.NO_STREAM,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_damaged_file_is_accounted_for(tmp_path: Path, family: str) -> None:
    task, task_settings, good, num_files = FAMILIES[family]
    folder = fill(tmp_path / "in", real_media(f"broken/{family}_broken.tar.xz"))
    good_keys = {path.name for path in good(folder).iterdir() if path.is_file()}
    started = time.monotonic()
    store = planted.build(task, folder, tmp_path / "out", max_rejects=num_files, **task_settings)
    seconds = time.monotonic() - started
    manifest = require_manifest(store)
    counts = manifest.counts
    parts = {row["source_key"]: row for row in load_tables(store, manifest, "parts").parts.to_pylist()}
    assert counts.num_sources == counts.num_used + counts.num_filtered + counts.num_rejected
    assert len(parts) >= num_files
    reasons = Counter(row["reason"] for row in parts.values() if row["status"] == "rejected")
    assert set(reasons) <= set(RejectReason)
    assert reasons[RejectReason.UNKNOWN] < 0.01 * num_files
    assert not DECODER_FAULTS & set(reasons), reasons
    assert seconds < 600
    labels = [row for row in real_labels(f"broken/{family}_broken.labels.csv") if row["path"] not in good_keys]
    assert len(labels) == num_files
    for row in labels:
        part = parts[row["path"]]
        if row["result"] == "ok" and part["status"] == "rejected":
            assert part["reason"] in REASONS_OF_READABLE, (row["path"], part["reason"])


def test_pictures_with_every_orientation_are_used_upright(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", real_media("broken/exif_orientation.tar.xz"))
    store = planted.build("image_rotation", folder, tmp_path / "out", side_px=64)
    assert require_manifest(store).counts.num_used == 9
