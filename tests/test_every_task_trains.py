"""Every built-in task's dataset trains: losses are finite, and fall on a few examples that come again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.discover import find_task, task_names
from unlabeled.pipeline.manifest import require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.encoders.build import load_encoder
from unlabeled.trainers.loop import Report

from tests import media_files, samples
from tests import test_every_task as media
from tests.loading import dataset
from tests.training import losses, settings, trained

pytestmark = pytest.mark.slow

#: Settings that make examples small; and how they are trained, where not by the smallest encoder of their medium.
SMALL: Mapping[str, dict[str, Any]] = {
    "image_rotation": {"side_px": 32},
    "image_inpainting": {"side_px": 64, "hole_px": 32, "crop_fraction": 0.8},
    "image_masked_patches": {"side_px": 64},
    "image_relative_patch": {"patch_px": 32, "gap_px": 16, "jitter_px": 3},
    "image_jigsaw": {"num_permutations": 4, "puzzles": 4},
    "image_patch_pairs": {"patch_px": 32},
    "image_colorization": {"side_px": 64},
    "labelled_media": {"side_px": 32, "label_from": "folder", "classes": ("field", "shore")},
    "audio_masked_spectrogram": {"frames": 128, "n_mels": 64},
    "video_arrow_of_time": {"side_px": 64, "num_frames": 8},
    "video_clip_order": {"side_px": 64, "clip_frames": 8},
    "video_frame_order": {"side_px": 64},
    "video_frame_pairs": {"side_px": 64},
    "video_future_frames": {"side_px": 64, "block_frames": 2},
    "video_masked_tubes": {"side_px": 64, "num_frames": 8, "mask_ratio": 0.75},
    "video_speed": {"side_px": 64, "num_frames": 8},
    "video_audio_correspondence": {"side_px": 64},
    "text_masked_tokens": {"vocab_size": 300, "seq_length": 32},
    "text_sentence_order": {"vocab_size": 300, "seq_length": 128},
}
#: So that there are few examples. A short clip of sound is enough to see that a net learns it.
FEW: Mapping[str, dict[str, Any]] = {
    "audio": {"max_examples": 4},
    "video": {"max_windows": 2},
    "text": {"max_examples": 2},
}
#: Nets of a few layers; pictures of one clip or more are seen by the video transformer.
ENCODERS = {
    "image": {"name": "resnet-small"},
    "audio": {"name": "resnet-small"},
    "video": {"name": "videomae-mini"},
    "text": {"name": "bert-tiny"},
    "image_masked_patches": {"name": "vit-mini"},
    "audio_masked_spectrogram": {"name": "ast-mini"},
    "video_frame_order": {"name": "resnet-small"},
    "video_frame_pairs": {"name": "resnet-small"},
    "video_audio_correspondence": {"name": "resnet-small"},
}


NUM_STEPS = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mapping[str, bytes]]:
    """Raw media by medium, made once."""

    @cache
    def of(medium: str) -> Mapping[str, bytes]:
        if medium == "audio":
            return {f"{number}.wav": sound(number) for number in range(10)}
        folder = tmp_path_factory.mktemp("media") / medium
        media.WRITERS[medium](folder)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return of


def sound(number: int) -> bytes:
    """Return a recording of 8 s as a file."""
    samples_ = samples.waveform_item(number, 8).samples.astype(np.float32)[:, None] / 32768
    return media_files.sound_file("wav", samples_, 16_000)


def train(store: Store, folder: Path, task: str, **changes: Any) -> list[float]:
    """Return the losses of some steps over the same few examples."""
    encoder = ENCODERS.get(task, ENCODERS[media.medium_of(task)])
    reports: list[Report] = []
    batch_size = 8 if task == "video_frame_pairs" else 4
    num_examples = require_manifest(store).splits["train"].num_examples
    chosen = {
        "batch_size": batch_size,
        "num_epochs": NUM_STEPS / (num_examples // batch_size),
        "encoder": encoder,
        "augment.shift_fraction": 0.0,
        "augment.flip": "none",
        "optimizer.learning_rate": 2e-3,
        "validate_every_epochs": 0,
        **changes,
    }
    trained(store, folder / "run", settings(**chosen), reports)
    return losses(reports)


@pytest.mark.parametrize("task", task_names())
def test_losses_are_finite_and_fall(task: str, files: Callable[[str], Mapping[str, bytes]], tmp_path: Path) -> None:
    small = dict(SMALL.get(task, {}))
    small |= FEW.get(media.medium_of(task), {}) if task != "labelled_media" else {}
    store = dataset(tmp_path, task, files(media.medium_of(task)), **small)
    found = train(store, tmp_path, task)
    assert all(math.isfinite(loss) for loss in found)
    few = len(found) // 4
    assert sum(found[-few:]) < 0.98 * sum(found[:few]), found
    assert load_encoder(tmp_path / "run" / "encoder").num_features > 0
    assert find_task(task).objective
