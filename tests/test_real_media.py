"""Everything in the real media goes through every fitting task: no exception, every source accounted for."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.discover import find_task, task_names
from unlabeled.pipeline.storage import StoreOptions

from tests.runs import Place, run_many

pytestmark = [pytest.mark.real_media, pytest.mark.slow]

#: Folder of archives -> the media in them.
SETS = {"images_web": "image", "audio": "audio", "video": "video", "text": "text"}
#: For spoken digits, most of which last less than half a second.
SHORT = ["task.clip_seconds=0.1", "task.trim_seconds=0"]
NEAR = ["task.far_clips=1.5", "task.min_gap_seconds=0.01", "task.max_gap_seconds=0.03"]
#: Archives whose sources are shorter or smaller than the defaults ask for, with settings that fit them.
SMALL_SETS = [
    ("images_small/cifar10", "image_rotation", ["task.side_px=32"]),
    ("images_small/cifar10", "image_masked_patches", ["task.side_px=32", "task.patch_px=4"]),
    ("images_small/cifar10", "image_colorization", ["task.side_px=32"]),
    ("images_small/cifar10", "image_inpainting", ["task.side_px=32", "task.hole_px=16", "task.cell_px=8"]),
    ("images_small/cifar10", "image_jigsaw", ["task.tile_px=8", "task.cell_px=10", "task.min_gap_px=2"]),
    ("images_small/cifar10", "image_relative_patch", ["task.patch_px=8", "task.gap_px=2", "task.jitter_px=1"]),
    ("images_small/cifar10", "labelled_media", ["task.side_px=32", "task.label_from=folder"]),
    ("audio/spoken_digits_fsdd", "audio_clip_adjacency", [*SHORT, *NEAR, "task.negatives=other_recording"]),
    ("audio/spoken_digits_fsdd", "audio_same_clip", ["task.clip_seconds=0.1", "task.min_gap_seconds=0.01"]),
    ("audio/spoken_digits_fsdd", "audio_temporal_gap", [*SHORT, "task.max_gap_seconds=0.1"]),
    ("audio/spoken_digits_fsdd", "audio_masked_spectrogram", ["task.min_frames=32"]),
]
ANY_REJECTS = "run.rejects.max_reject_fraction=1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = os.environ.get("UNLABELED_MEDIA")
    if not folder:
        pytest.skip("UNLABELED_MEDIA names no folder")
    unpacked = tmp_path_factory.mktemp("real")
    for name in (*SETS, "images_small"):
        for archive in sorted(Path(folder, name).glob("*.tar*")):
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked / name / archive.name.partition(".")[0], filter="data")
    return Place(str(unpacked), StoreOptions())


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with started_ray(RunSettings(num_cpus=2)):
        yield


@pytest.mark.parametrize("medium", sorted(SETS))
def test_every_source_goes_through_every_task_of_its_medium(medium: str, place: Place) -> None:
    tasks = [name for name in task_names() if find_task(name).modality.removesuffix("_audio") == SETS[medium]]
    for report in run_many(place, medium, f"out/{medium}", [ANY_REJECTS], tasks):
        assert report.num_sources == report.num_used + report.num_filtered + report.num_rejected
        assert report.num_examples > 0
        assert set(report.rejected_by_reason) <= {"format_not_allowed"}


@pytest.mark.parametrize(("source", "task", "sets"), SMALL_SETS, ids=[f"{s[0]}-{s[1]}" for s in SMALL_SETS])
def test_small_sources_go_through_with_settings_that_fit(
    source: str, task: str, sets: list[str], place: Place
) -> None:
    (report,) = run_many(place, source, f"out/{source}/{task}", sets, [task])
    assert report.num_sources == report.num_used + report.num_filtered
    assert report.num_used >= report.num_sources / 2, report.filtered_by_reason
