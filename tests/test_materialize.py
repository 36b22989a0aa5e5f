"""The whole way on a real Ray: exactly once, same inputs same bytes, increments, commit, rejects, readers."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from unlabeled.jobs import gc as gc_call
from unlabeled.jobs import reading
from unlabeled.pipeline.errors import ConfigError, Conflict, TooManyRejects, UnlabeledError
from unlabeled.pipeline.storage import StoreOptions

from tests.conftest import Bucket
from tests.runs import (
    SMALL,
    Place,
    files_of,
    jpeg,
    manifest_of,
    photograph_key,
    put_photographs,
    rows_of,
    run,
    run_many,
)

NUM_PHOTOGRAPHS = 60


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    import ray
    from unlabeled.jobs.ray_start import started_ray
    from unlabeled.pipeline.config import RunSettings

    with started_ray(RunSettings(num_cpus=2)):
        yield
    ray.shutdown()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(str(tmp_path), StoreOptions())
    bucket: Bucket = request.getfixturevalue("s3")
    return Place(bucket.uri, bucket.options)


@pytest.fixture
def filled(place: Place) -> Place:
    """A place whose folder `in` holds photographs."""
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))
    return place


def test_every_photograph_gives_its_four_turns(filled: Place) -> None:
    report = run(filled)
    rows = rows_of(filled.store("out"))
    assert (report.num_sources, report.num_used, report.num_examples) == (60, 60, 240)
    assert set(Counter(rows["source_key"].to_pylist()).values()) == {4}
    assert Counter(rows["label"].to_pylist()) == {0: 60, 1: 60, 2: 60, 3: 60}
    assert set(rows["source_key"].to_pylist()) == {photograph_key(number) for number in range(NUM_PHOTOGRAPHS)}


def test_turning_back_by_the_label_gives_the_upright_crop(filled: Place) -> None:
    run(filled)
    rows = rows_of(filled.store("out")).to_pylist()
    by_source: dict[str, list[np.ndarray]] = {}
    for row in rows[:80]:
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).astype(int)
        by_source.setdefault(row["source_key"], []).append(np.rot90(pixels, -row["label"]))
    for turned_back in by_source.values():
        assert all(np.abs(one - turned_back[0]).mean() < 4 for one in turned_back)


def test_a_second_run_with_nothing_new_is_a_no_op(filled: Place) -> None:
    first = run(filled)
    second = run(filled)
    assert (second.published, second.version, second.num_made_shards) == (False, 1, 0)
    assert second.fingerprint == first.fingerprint


def test_a_copy_elsewhere_gives_the_same_bytes(filled: Place) -> None:
    run(filled)
    numbers = np.random.default_rng(3).permutation(NUM_PHOTOGRAPHS)
    put_photographs(filled.store("moved/deeper"), [int(number) for number in numbers])
    run(filled, "moved/deeper", "copy")
    assert files_of(filled.store("copy")) == files_of(filled.store("out"))
    assert manifest_of(filled.store("copy")).fingerprint == manifest_of(filled.store("out")).fingerprint


def test_new_photographs_make_new_shards_only(filled: Place) -> None:
    run(filled)
    before = files_of(filled.store("out"))
    put_photographs(filled.store("in"), [100])
    report = run(filled)
    after = files_of(filled.store("out"))
    assert (report.version, report.num_made_shards, report.num_sources) == (2, 1, 61)
    assert before.items() < after.items()
    assert len(after) == len(before) + 1


def test_rows_after_increments_equal_a_clean_build(filled: Place) -> None:
    run(filled)
    source = filled.store("in")
    put_photographs(source, [100, 101])
    source.put(photograph_key(7), jpeg(777))
    source.delete([photograph_key(9)])
    run(filled)
    run(filled, output="clean")
    run(filled, output="out", rebuild=True)
    assert rows_of(filled.store("out"), 2).equals(rows_of(filled.store("clean")))
    assert rows_of(filled.store("out"), 3).equals(rows_of(filled.store("clean")))


def test_a_changed_or_deleted_object_replans_only_its_shard(filled: Place) -> None:
    run(filled)
    before = files_of(filled.store("out"))
    rows = rows_of(filled.store("out"), 1)
    filled.store("in").put(photograph_key(7), jpeg(777))
    filled.store("in").delete([photograph_key(9)])
    report = run(filled)
    after = files_of(filled.store("out"))
    assert report.num_made_shards <= 2
    assert len(before.keys() - after.keys()) <= 2
    assert report.num_sources == NUM_PHOTOGRAPHS - 1
    changed = [row for row in rows_of(filled.store("out")).to_pylist() if row["source_key"] == photograph_key(7)]
    assert {row["source_sha256"] for row in changed}.isdisjoint(rows["source_sha256"].to_pylist())


def test_another_etag_of_the_same_content_changes_nothing(filled: Place) -> None:
    run(filled)
    put_photographs(filled.store("in"), [5])
    assert not run(filled).published


def test_other_settings_are_refused_by_name(filled: Place) -> None:
    run(filled)
    with pytest.raises(ConfigError, match=r"`task\.settings\.side_px`: found 48, .* made with 32"):
        run(filled, assignments=[*SMALL, "task.side_px=48"])


def test_another_input_is_refused_by_name(filled: Place) -> None:
    run(filled)
    put_photographs(filled.store("elsewhere"), [1])
    with pytest.raises(ConfigError, match="`--input`"):
        run(filled, "elsewhere")


def test_an_undecodable_photograph_is_a_reject_row(filled: Place) -> None:
    filled.store("in").put("broken.jpg", b"\xff\xd8\xff\xe0 this is no photograph")
    filled.store("in").put("page.jpg", b"<html><body>404</body></html>")
    report = run(filled)
    listed = reading.rejects(filled.path("out"), store_options=filled.options)
    assert report.num_rejected == 2
    assert report.num_sources == report.num_used + report.num_filtered + report.num_rejected == 62
    assert {reject.source_key for reject in listed.rejects} == {"broken.jpg", "page.jpg"}
    assert all(reject.stage == "decode" and reject.message for reject in listed.rejects)


def test_too_many_rejects_publish_nothing_and_keep_what_is_done(filled: Place) -> None:
    for number in range(3):
        filled.store("in").put(f"broken {number}.jpg", b"\xff\xd8\xff\xe0 no")
    with pytest.raises(TooManyRejects, match="3 of 63"):
        run(filled, **{"run.rejects.max_rejects_min": 2, "run.rejects.max_reject_fraction": 0.01})
    with pytest.raises(UnlabeledError, match="no dataset"):
        manifest_of(filled.store("out"))
    report = run(filled, **{"run.rejects.max_rejects_min": 3})
    assert (report.num_made_shards, report.version) == (0, 1)


def test_small_pictures_are_filtered_and_counted(filled: Place) -> None:
    filled.store("in").put("small.jpg", jpeg(1, 30, 40))
    report = run(filled)
    assert report.filtered_by_reason == {"too_small": 1}


def test_groups_never_straddle_splits(filled: Place) -> None:
    run(filled, assignments=[*SMALL, "val_fraction=0.5"], group_by=r"photo\+0(\d)")
    splits: dict[str, set[str]] = {}
    for row in rows_of(filled.store("out")).select(["group_id", "split"]).to_pylist():
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert len(splits) == 6
    assert all(len(of_group) == 1 for of_group in splits.values())


def test_two_writers_one_wins_and_the_other_harms_nothing(filled: Place) -> None:
    outcomes: list[object] = []

    def write() -> None:
        try:
            outcomes.append(run(filled).version)
        except Conflict as error:
            outcomes.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    # The one that comes late may find everything done, which is no conflict.
    assert [outcome for outcome in outcomes if outcome == 1]
    assert manifest_of(filled.store("out")).version == 1
    assert rows_of(filled.store("out")).num_rows == 240


def test_readers_see_whole_versions_only(filled: Place) -> None:
    run(filled)
    seen: set[tuple[int, int]] = set()
    done = threading.Event()

    def read() -> None:
        store = filled.store("out")
        while not done.is_set():
            version = manifest_of(store).version
            seen.add((version, rows_of(store, version).num_rows))

    reader = threading.Thread(target=read)
    reader.start()
    put_photographs(filled.store("in"), range(100, 110))
    run(filled)
    done.set()
    reader.join()
    assert seen <= {(1, 240), (2, 280)}


def test_gc_removes_orphans_and_nothing_else(filled: Place) -> None:
    run(filled)
    store = filled.store("out")
    store.put("data/train/orphan-0000.parquet", b"half a shard")
    store.put("_receipts/orphan.json", b"{}")
    named = files_of(store)
    spared = gc_call.collect_garbage(filled.path("out"), delete=True, store_options=filled.options)
    assert spared.num_objects == 0
    report = gc_call.collect_garbage(filled.path("out"), delete=True, min_age_days=0, store_options=filled.options)
    assert {"data/train/orphan-0000.parquet", "_receipts/orphan.json"} <= set(report.keys)
    assert rows_of(store).num_rows == 240
    assert files_of(store) == named
    assert not run(filled).published


def test_several_tasks_share_a_run_and_give_the_bytes_of_single_runs(filled: Place) -> None:
    tasks = ("image_rotation", "image_masked_patches")
    sizes = ["image_rotation.side_px=32", "image_masked_patches.side_px=32", "image_masked_patches.patch_px=16"]
    assignments = [name for name in SMALL if not name.startswith("task.")]
    together = run_many(filled, "in", "both", [*assignments, *sizes], tasks)
    for report, task, more in zip(together, tasks, (sizes[:1], sizes[1:]), strict=True):
        run_many(filled, "in", f"single/{task}", [*assignments, *more], [task])
        assert files_of(filled.store(f"both/{task}")) == files_of(filled.store(f"single/{task}"))
        assert report.num_used == NUM_PHOTOGRAPHS


def test_load_dataset_gives_typed_features_and_exactly_the_versions_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(20))
    run(place)
    place.store("in").delete([photograph_key(3)])
    run(place)
    loaded = datasets.load_dataset(place.path("out"), cache_dir=str(tmp_path / "cache"))
    features = loaded["train"].features
    assert isinstance(features["image"], datasets.Image)
    assert features["label"] == datasets.ClassLabel(names=["0", "90", "180", "270"])
    assert sum(split.num_rows for split in loaded.values()) == 19 * 4
    assert loaded["train"][0]["image"].size == (32, 32)
    declared = {column["name"] for column in manifest_of(place.store("out")).features}
    assert set(features) == declared
    shown = reading.show(place.path("out"))
    from_files = datasets.load_dataset(
        "parquet",
        data_files={name: files for name, files in shown.files.items() if files},
        cache_dir=str(tmp_path / "cache2"),
    )
    assert from_files["train"].features == features


def test_other_readers_read_the_same_files(tmp_path: Path) -> None:
    import duckdb
    import ray.data

    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(20))
    run(place)
    files = [name for names in reading.show(place.path("out")).files.values() for name in names]
    counted = duckdb.sql(f"select label, count(*) from read_parquet({files!r}) group by label").fetchall()  # noqa: S608
    assert sorted(counted) == [(0, 20), (1, 20), (2, 20), (3, 20)]
    assert ray.data.read_parquet(files).count() == 80
    schema = pq.read_schema(files[0])
    assert not [field for field in schema if str(field.type).startswith("extension")]
