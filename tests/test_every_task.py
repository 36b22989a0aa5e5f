"""Every built-in task on a real Ray, from real files to what `datasets` loads; tasks of one medium share a run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from unlabeled.jobs.materialize import MaterializeReport
from unlabeled.jobs.ray_start import started_ray
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.discover import find_task, task_names
from unlabeled.pipeline.features import Feature, Features
from unlabeled.pipeline.items import ClipRequest
from unlabeled.pipeline.ledger import listed_receipts, read_receipts
from unlabeled.pipeline.storage import StoreOptions

from tests import media_files, samples
from tests.runs import Place, files_of, manifest_of, run_many

#: One of each medium is made alone and on one CPU, too.
ALONE = {"image": "image_jigsaw", "audio": "audio_clip_adjacency", "video": "video_frame_pairs"}
ALONE |= {"text": "text_sentence_order"}
SETTINGS = ("shard.spread_min_num_bytes=65536", "shard.spread_num_shards=2", "val_fraction=0.2", "task.max_windows=2")


def medium_of(task: str) -> str:
    return find_task(task).modality.removesuffix("_audio")


BY_MEDIUM = {medium: [name for name in task_names() if medium_of(name) == medium] for medium in ALONE}


def settings_of(tasks: Sequence[str]) -> list[str]:
    of_tasks = [f"{task}.max_windows=2" for task in tasks if task.startswith("video_")]
    labelled = ["labelled_media.label_from=folder"] if "labelled_media" in tasks else []
    return [*SETTINGS[:-1], *of_tasks, *labelled]


def write_images(folder: Path) -> None:
    for number in range(8):
        buffer = io.BytesIO()
        Image.fromarray(samples.landscape(number, 400, 320)).save(buffer, "JPEG", quality=92)
        path = folder / ("field", "shore")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def write_audio(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, kind in enumerate(("wav", "flac", "ogg", "mp3", "m4a", "opus")):
        rate_hz = (8_000, 22_050, 44_100, 48_000, 32_000, 48_000)[number]
        sound = samples.waveform_item(number, 14, rate_hz).samples.astype(np.float32) / 32768
        two = np.stack([sound, 0.5 * sound], 1)
        (folder / f"{number}.{kind}").write_bytes(media_files.sound_file(kind, two, rate_hz))


def write_video(folder: Path) -> None:
    folder.mkdir(parents=True)
    info = samples.video_info(14, 25, 320, 256)
    whole = ClipRequest(targets_us=(0,), crop_box=(0, 0, 320, 256), width_px=320, height_px=256)
    for number, kind in enumerate(("mp4", "mkv", "ts-h264")):
        times_us = samples.frame_times(info)
        frames = [samples.video_frame(info, int(at), number, whole) for at in times_us]
        sound = samples.waveform_item(number, 14).samples.astype(np.float32)[:, None] / 32768
        (folder / f"{number}.{kind[:3].rstrip('-')}").write_bytes(media_files.video_file(kind, frames, sound=sound))


def write_text(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.txt").write_text(samples.document_item(number, 200).text)
    lines = (json.dumps({"text": samples.document_item(number, 30).text}) for number in range(10, 20))
    (folder / "more.jsonl").write_text("\n".join(lines))


WRITERS = {"image": write_images, "audio": write_audio, "video": write_video, "text": write_text}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("every")
    for medium, write in WRITERS.items():
        write(folder / medium)
    return Place(str(folder), StoreOptions())


@pytest.fixture(scope="module")
def alone(place: Place) -> None:
    """One task of each medium by itself, on one CPU."""
    with started_ray(RunSettings(num_cpus=1)):
        for medium, task in ALONE.items():
            run_many(place, medium, f"alone/{task}", settings_of([task]), [task])


@pytest.fixture(scope="module", params=[1, 2, 4])
def num_cpus(request: pytest.FixtureRequest, place: Place) -> int:
    """All tasks of each medium in one run, on so many CPUs."""
    with started_ray(RunSettings(num_cpus=request.param)):
        for medium, tasks in BY_MEDIUM.items():
            run_many(place, medium, f"on{request.param}/{medium}", settings_of(tasks), tasks)
    return int(request.param)


@pytest.fixture(scope="module")
def reports(place: Place, alone: None) -> Iterator[Mapping[str, tuple[MaterializeReport, MaterializeReport]]]:
    """All tasks of each medium in one run, on two CPUs, and again."""
    made: dict[str, tuple[MaterializeReport, MaterializeReport]] = {}
    with started_ray(RunSettings(num_cpus=2)):
        for medium, tasks in BY_MEDIUM.items():
            runs = [run_many(place, medium, f"out/{medium}", settings_of(tasks), tasks) for _ in range(2)]
            made |= dict(zip(tasks, zip(*runs, strict=True), strict=True))
        yield made


def out(task: str, run: str = "out") -> str:
    medium = medium_of(task)
    return f"{run}/{medium}/{task}" if len(BY_MEDIUM[medium]) > 1 else f"{run}/{medium}"


@pytest.mark.parametrize("task", task_names())
def test_every_source_is_accounted_for_and_used(task: str, reports: Mapping[str, Any]) -> None:
    first, _ = reports[task]
    assert first.num_sources == first.num_used + first.num_filtered + first.num_rejected
    assert first.num_rejected == 0, first.rejected_by_reason
    assert first.num_used >= first.num_sources / 2, first.filtered_by_reason
    assert first.num_examples >= first.num_used


@pytest.mark.parametrize("task", task_names())
def test_a_second_run_is_a_no_op(task: str, reports: Mapping[str, Any]) -> None:
    first, second = reports[task]
    assert (second.published, second.num_made_shards, second.version) == (False, 0, 1)
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize("task", task_names())
def test_features_in_the_files_are_those_of_the_manifest(task: str, place: Place, reports: object) -> None:
    store = place.store(out(task))
    declared = manifest_of(store).features
    for name in files_of(store):
        schema = pq.read_schema(io.BytesIO(store.get(name)))
        assert json.loads(schema.metadata[b"unlabeled"])["features"] == declared
        assert schema.names == [column["name"] for column in declared]


@pytest.mark.parametrize("task", task_names())
def test_datasets_decodes_every_column(task: str, place: Place, reports: object, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    store = place.store(out(task))
    loaded = datasets.load_dataset(place.path(out(task)), cache_dir=str(tmp_path))
    assert sum(split.num_rows for split in loaded.values()) == manifest_of(store).counts.num_examples
    split = loaded["train"]
    features = Features.from_json(manifest_of(store).features)
    # Audio would be decoded by torchcodec, which is not needed to read the bytes.
    raw = split.with_format("arrow")[:4].to_pylist()
    for name, feature in features:
        assert_declared(feature, split.features[name], datasets)
        for row in raw:
            for cell in leaves(row[name], len(feature.shape)):
                assert_decodes(feature, cell)


def assert_declared(feature: Feature, shown: Any, datasets: Any) -> None:
    for _ in feature.shape:
        shown = shown[0] if isinstance(shown, list) else getattr(shown, "feature", shown)
    if feature.kind == "image":
        assert isinstance(shown, datasets.Image)
    elif feature.kind == "audio":
        assert isinstance(shown, datasets.Audio)
        assert shown.sampling_rate == feature.sample_rate_hz
    elif feature.classes:
        assert isinstance(shown, datasets.ClassLabel)
        assert shown.names == list(feature.classes)


def assert_decodes(feature: Feature, cell: Any) -> None:
    if feature.kind == "image":
        with Image.open(io.BytesIO(cell["bytes"])) as picture:
            assert picture.format == feature.encoding.upper()
            picture.load()
    elif feature.kind == "audio":
        samples_, rate_hz = soundfile.read(io.BytesIO(cell["bytes"]))
        assert rate_hz == feature.sample_rate_hz
        assert len(samples_) > 0


def leaves(cell: Any, depth: int) -> Iterator[Any]:
    if depth == 0:
        yield cell
        return
    for entry in cell:
        yield from leaves(entry, depth - 1)


@pytest.mark.parametrize("task", task_names())
def test_every_label_is_rederived_from_the_sources(task: str, place: Place, reports: Mapping[str, Any]) -> None:
    first, _ = reports[task]
    report = verify_dataset(place.path(out(task)), rederive_fraction=1.0)
    assert (report.problems, report.changed_sources) == ([], [])
    assert (report.num_rederived_sources, report.num_rederived_rows) == (first.num_used, first.num_examples)


@pytest.mark.parametrize("task", ALONE.values(), ids=ALONE)
def test_alone_on_one_cpu_and_together_on_two_the_bytes_are_the_same(task: str, place: Place, reports: object) -> None:
    together = files_of(place.store(out(task)))
    assert together == files_of(place.store(f"alone/{task}"))
    assert len(together) > 1


@pytest.mark.slow
def test_one_two_and_four_cpus_make_the_same_bytes_of_every_task(num_cpus: int, place: Place) -> None:
    made = {task: files_of(place.store(out(task, f"on{num_cpus}"))) for task in task_names()}
    assert all(len(files) > 1 for files in made.values())
    if num_cpus > 1:
        assert made == {task: files_of(place.store(out(task, "on1"))) for task in task_names()}


def test_receipts_say_what_decoding_video_has_cost(place: Place, reports: object) -> None:
    store = place.store(out("video_frame_pairs"))
    receipts = read_receipts(store, listed_receipts(store))
    used = [receipt for receipt in receipts if receipt.num_rows]
    assert used
    for receipt in used:
        assert 0 < receipt.stats["num_frames_used"] <= receipt.stats["num_frames_decoded"]
        assert 0 < receipt.stats["num_video_bytes_fetched"] <= receipt.stats["num_video_bytes"]
    # The transport stream: MP4 and Matroska list their key frames.
    assert sum(receipt.stats["num_unindexed_videos"] for receipt in used) == 1
