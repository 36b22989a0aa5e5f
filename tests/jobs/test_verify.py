"""The command's exit code and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import Store

from tests import planted
from tests.runs import cli

#: What a careful forger changes: the task, the row, and how.
FAULTS: Mapping[str, tuple[str, int, planted.Change]] = {
    "flipped label": ("image_rotation", 5, lambda rows: planted.flip_label(rows, 5)),
    "clip shifted by a sample": ("audio_same_clip", 1, lambda rows: planted.shift_clip(rows, "clip_a", 1)),
    "swapped frame": ("video_frame_order", 1, lambda rows: planted.swap_frames(rows, "frames", 1)),
}


def make(task: str, folder: Path) -> Store:
    if task.startswith("video_"):
        return planted.build(task, planted.videos(folder / "in"), folder / "out", side_px=64)
    if task.startswith("audio_"):
        return planted.build(task, planted.sounds(folder / "in", 4), folder / "out")
    return planted.build(task, planted.photographs(folder / "in"), folder / "out", side_px=32)


@pytest.fixture
def dataset(tmp_path: Path) -> Store:
    return make("image_rotation", tmp_path)


def test_a_sound_dataset_is_exit_0_and_one_object(dataset: Store) -> None:
    done = cli("verify", dataset.uri, "--rederive", "1.0", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_exit_5_with_shard_and_row(fault: str, tmp_path: Path) -> None:
    task, row, change = FAULTS[fault]
    store = make(task, tmp_path)
    key = planted.forge(store, change, tmp_path)
    done = cli("verify", store.uri, "--rederive", "1.0")
    assert done.returncode == 5
    assert f"{key} row {row}" in done.stderr


def test_a_fraction_is_between_nothing_and_all(dataset: Store) -> None:
    with pytest.raises(ConfigError, match=r"within \[0, 1\]"):
        verify_dataset(dataset.uri, rederive_fraction=1.5)
