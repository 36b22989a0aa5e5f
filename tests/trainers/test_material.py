"""What is known of datasets before training, and which cannot be mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.material import material
from unlabeled.trainers.mixture import DataShare
from unlabeled.trainers.run import Run, resolve

from tests.loading import dataset, turns
from tests.media_files import chirp, sound_file
from tests.small_datasets import jpeg
from tests.training import settings


def run_of(folder: Path, *stores: Store) -> Run:
    return resolve([DataShare(store.uri) for store in stores], str(folder / "run"), settings())


def made(folder: Path, task: str, files: dict[str, bytes], **task_settings: Any) -> Store:
    folder.mkdir()
    return dataset(folder, task, files, **task_settings)


def pictures(width_px: int = 80) -> dict[str, bytes]:
    return {f"{number}.jpg": jpeg(number, width_px, width_px) for number in range(8)}


def gaps(folder: Path, num: int) -> Store:
    files = {f"{number}.wav": sound_file("wav", chirp(16000, 20.0 + number), 16000) for number in range(num)}
    return made(folder, "audio_temporal_gap", files)


def test_rows_are_of_the_first_dataset_and_numbers_of_all(tmp_path: Path) -> None:
    first, second = gaps(tmp_path / "a", 8), gaps(tmp_path / "b", 4)
    found = material(run_of(tmp_path, first, second))
    alone = [material(run_of(tmp_path / name, store)).numbers for name, store in (("a", first), ("b", second))]
    for name, numbers in found.numbers.items():
        assert np.array_equal(numbers, np.concatenate([part[name] for part in alone]))
    assert found.numbers


def test_other_sizes_of_pictures_are_not_mixed(tmp_path: Path) -> None:
    other = made(tmp_path / "other", "image_rotation", pictures(), side_px=48)
    with pytest.raises(ConfigError, match=r"image has the shape \(48, 48, 3\), expected \(32, 32, 3\)"):
        material(run_of(tmp_path, turns(tmp_path, 8), other))


def test_other_masks_are_not_mixed(tmp_path: Path) -> None:
    parts = [
        made(tmp_path / str(ratio), "image_masked_patches", pictures(), side_px=64, mask_ratio=ratio)
        for ratio in (0.5, 0.75)
    ]
    with pytest.raises(ConfigError, match="its task has other settings"):
        material(run_of(tmp_path, *parts))


def test_other_assets_are_not_mixed(tmp_path: Path) -> None:
    parts = [
        made(tmp_path / str(num), "image_jigsaw", pictures(300), num_permutations=num, puzzles=4) for num in (4, 8)
    ]
    with pytest.raises(ConfigError, match="cannot be mixed"):
        material(run_of(tmp_path, *parts))
