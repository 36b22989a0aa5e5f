"""Labels follow from the sources: the three faults that a careful forger plants are found, with shard and row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unlabeled.jobs.verify import VerifyReport, verify_dataset
from unlabeled.pipeline.rederive import agree
from unlabeled.pipeline.storage import Store

from tests import planted

PAIRS = {"clip_seconds": 0.96}
VIDEO = {"side_px": 64}
#: Tasks whose frames are looked at, and the column that holds them.
VIDEO_TASKS = {
    "video_arrow_of_time": "frames",
    "video_clip_order": "clips",
    "video_frame_order": "frames",
    "video_future_frames": "context_frames",
    "video_masked_tubes": "frames",
    "video_speed": "frames",
}


def rederived(store: Store) -> VerifyReport:
    return verify_dataset(store.uri, rederive_fraction=1.0)


def faults(store: Store) -> set[tuple[str, int]]:
    return {(one.file, one.row) for one in rederived(store).problems if one.check == "rederive"}


def test_labels_of_a_sound_dataset_are_rederived(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=32)
    report = rederived(store)
    assert (report.ok, report.num_rederived_sources, report.num_rederived_rows) == (True, 3, 12)


def test_one_flipped_label_is_found(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=32)
    key = planted.forge(store, lambda rows: planted.flip_label(rows, 6), tmp_path)
    assert faults(store) == {(key, 6)}


@pytest.mark.parametrize(
    ("task", "column"),
    [
        ("audio_same_clip", "clip_a"),
        ("audio_temporal_gap", "clip_b"),
        ("audio_masked_spectrogram", "audio"),
        ("audio_clip_adjacency", "clip_a"),
    ],
)
def test_one_clip_shifted_by_a_sample_is_found(tmp_path: Path, task: str, column: str) -> None:
    store = planted.build(task, planted.sounds(tmp_path / "in", 4), tmp_path / "out")
    assert rederived(store).ok
    key = planted.forge(store, lambda rows: planted.shift_clip(rows, column, 1), tmp_path)
    assert faults(store) == {(key, 1)}


@pytest.mark.parametrize("task", VIDEO_TASKS)
def test_one_swapped_frame_is_found(tmp_path: Path, task: str) -> None:
    store = planted.build(task, planted.videos(tmp_path / "in"), tmp_path / "out", **VIDEO)
    assert rederived(store).ok
    key = planted.forge(store, lambda rows: planted.swap_frames(rows, VIDEO_TASKS[task], 0), tmp_path)
    assert faults(store) == {(key, 0)}


def test_changed_and_missing_sources_are_told_and_are_no_fault(tmp_path: Path) -> None:
    sources = planted.photographs(tmp_path / "in")
    store = planted.build("image_rotation", sources, tmp_path / "out", side_px=32)
    (sources / "0.jpg").write_bytes((sources / "1.jpg").read_bytes())
    (sources / "2.jpg").unlink()
    report = rederived(store)
    assert (report.ok, sorted(report.changed_sources), report.num_rederived_sources) == (True, ["0.jpg", "2.jpg"], 1)


def test_a_fraction_takes_the_same_sources_every_time(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 12), tmp_path / "out", side_px=32)
    numbers = {verify_dataset(store.uri, rederive_fraction=0.5).num_rederived_sources for _ in range(2)}
    assert len(numbers) == 1
    assert 0 < numbers.pop() < 12


@pytest.mark.parametrize(
    ("stored", "found", "is_same"),
    [
        (1, 1, True),
        (1, 2, False),
        (0.1, float(np.float32(0.1)), True),
        (0.1, 0.1011, False),
        ([1, [2.0]], (1, [2.0]), True),
        ([1], [1, 1], False),
        (b"a", b"b", False),
        ("a", "a", True),
        (np.int64(3), 3, True),
        (float("nan"), float("nan"), False),
        (None, 1.0, False),
    ],
)
def test_integers_agree_exactly_and_floats_nearly(stored: object, found: object, is_same: bool) -> None:
    assert agree(stored, found) is is_same


def test_a_row_that_cannot_be_decoded_is_a_fault(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=32)
    broken: Mapping[str, Any] = {"bytes": b"no picture", "path": None}
    key = planted.forge(store, lambda rows: rows[2].update(image=broken), tmp_path)
    assert faults(store) == {(key, 2)}
