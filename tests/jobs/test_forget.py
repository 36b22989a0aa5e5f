"""Forgetting on a real Ray: nothing in the store names the source any more, and it does not come back."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.jobs.compact import Compact
from unlabeled.jobs.forget import forget
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.audit.report import store_verdicts
from unlabeled.pipeline.card import repair_card
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.errors import ConfigError, Conflict
from unlabeled.pipeline.forgotten import bury
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.storage import StoreOptions

from tests import planted
from tests.audited import report as audit_report
from tests.conftest import Bucket
from tests.runs import SMALL, Place, files_of, jpeg, photograph_key, put_photographs, rows_of, run

RUN = RunSettings(num_cpus=2)
SETTINGS = (*SMALL, "dedup=group")


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    import ray
    from unlabeled.jobs.ray_start import started_ray

    with started_ray(RUN):
        yield
    ray.shutdown()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(str(tmp_path), StoreOptions())
    bucket: Bucket = request.getfixturevalue("s3")
    return Place(bucket.uri, bucket.options)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("_ray")
def test_a_forgotten_source_leaves_no_trace_and_stays_away(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(12))
    run(place, assignments=SETTINGS)
    put_photographs(place.store("in"), range(12, 15))
    place.store("in").put("text.jpg", b"no picture")
    run(place, assignments=SETTINGS)
    key = photograph_key(3)
    before = files_of(place.store("out"))
    report = forget(place.path("out"), [key, "text.jpg"], run=RUN)
    assert (report.version, report.versions, report.num_sources) == (3, [3], 2)
    left = bytes_below(tmp_path / "out")
    assert not any(name in left for name in report.removed)
    assert not [name for name, data in left.items() if key.encode() in data or b"text.jpg" in data]
    assert key not in rows_of(place.store("out"))["source_key"].to_pylist()
    # Shards that it was no part of keep name and bytes.
    assert len(before.items() & files_of(place.store("out")).items()) >= len(before) - 1
    assert verify_dataset(place.path("out"), rederive_fraction=1.0).ok
    # Both are in the bucket still; only what is new is made.
    place.store("in").put("new.jpg", jpeg(77))
    later = run(place, assignments=SETTINGS)
    assert (later.version, later.num_sources, later.num_used) == (4, 15, 15)
    assert not [name for name, data in bytes_below(tmp_path / "out").items() if key.encode() in data]
    assert forget(place.path("out"), [key], run=RUN).version == 4


@pytest.mark.usefixtures("_ray")
def test_what_was_merged_into_one_shard_is_forgotten_too(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    for first in (0, 4):
        put_photographs(place.store("in"), range(first, first + 4))
        run(place)
    assert Compact(place.path("out")).run().num_merged > 1
    key = photograph_key(1)
    report = forget(place.path("out"), [key], run=RUN)
    assert report.num_sources == 1
    assert not [name for name, data in bytes_below(tmp_path / "out").items() if key.encode() in data]
    verified = verify_dataset(place.path("out"), rederive_fraction=1.0)
    assert (verified.ok, verified.num_rederived_sources) == (True, 7)


@pytest.mark.usefixtures("_ray")
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(3))
    run(place)
    with pytest.raises(ConfigError, match=r"holds no source .*Did you mean"):
        forget(place.path("out"), [photograph_key(1).upper()], run=RUN)


def test_the_card_shows_no_audit_that_is_gone(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 4), tmp_path / "out", side_px=48)
    manifest = require_manifest(store)
    store_verdicts(store, audit_report())
    repair_card(store, manifest, load_tables(store, manifest, "shards"), "mit")
    bury(store, {"long gone.jpg"})
    assert forget(store.uri, ["long gone.jpg"], run=RUN).version == 1
    card = store.get("README.md").decode()
    assert "not audited yet" in card
    assert "license: mit\n" in card


def tar_of(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def parquet_of(pictures: list[bytes]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": data, "path": None} for data in pictures]}), sink)
    return sink.getvalue()


def objects_of(place: Place) -> dict[str, bytes]:
    store = place.store("out")
    return {info.key: store.get(info.key) for page in store.list("") for info in page}


@pytest.mark.usefixtures("_ray")
def test_one_member_of_a_tar_is_forgotten_and_the_others_stay(place: Place) -> None:
    place.store("in").put("a.tar", tar_of({f"member-{n}.jpg": jpeg(n) for n in range(6)}))
    run(place)
    key = "a.tar#member-2.jpg"
    report = forget(place.path("out"), [key], run=RUN, store_options=place.options)
    rows = rows_of(place.store("out"))["source_key"].to_pylist()
    assert (report.num_sources, len(set(rows)), key in rows) == (1, 5, False)
    assert not [name for name, data in objects_of(place).items() if b"member-2.jpg" in data]
    assert run(place).num_used == 5


@pytest.mark.usefixtures("_ray")
def test_a_parquet_object_is_forgotten_with_all_its_rows(place: Place) -> None:
    for name, first in (("kept", 0), ("gone", 10)):
        place.store("in").put(f"{name}.parquet", parquet_of([jpeg(first + n) for n in range(3)]))
    run(place, assignments=(*SMALL, "column=image.bytes"))
    report = forget(place.path("out"), ["gone.parquet"], run=RUN, store_options=place.options)
    rows = rows_of(place.store("out"))["source_key"].to_pylist()
    assert (report.num_sources, {key.partition("#")[0] for key in rows}) == (3, {"kept.parquet"})
    assert not [name for name, data in objects_of(place).items() if b"gone.parquet" in data]


#: Patches of other pictures are the negatives: a forgotten source may have lent some.
PARTNERED = ("task.proxy=same_image_adjacent", "task.patch_px=16", "shard.spread_num_shards=2", "val_fraction=0.3")


@pytest.mark.usefixtures("_ray")
def test_nothing_is_left_of_what_a_forgotten_source_lent_to_others(place: Place) -> None:
    for number in range(8):
        place.store("in").put(f"{number}.jpg", jpeg(number, 160, 120))
    settings = (*PARTNERED, "shard.spread_min_num_bytes=4096")
    run(place, assignments=settings, tasks=("image_patch_pairs",))
    lent = set(rows_of(place.store("out"))["source_key_b"].to_pylist()) - {""}
    key = sorted(lent)[0]
    forget(place.path("out"), [key], run=RUN, store_options=place.options)
    rows = rows_of(place.store("out"))
    assert key not in {*rows["source_key"].to_pylist(), *rows["source_key_b"].to_pylist()}
    assert rows.num_rows > 0
    assert verify_dataset(place.path("out"), rederive_fraction=1.0, store_options=place.options).ok


@pytest.mark.usefixtures("_ray")
def test_while_a_run_is_at_work_nothing_is_removed(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(4))
    run(place)
    before = objects_of(place).keys()
    with acquire(place.store("out")), pytest.raises(Conflict):
        forget(place.path("out"), [photograph_key(1)], run=RUN)
    assert before <= objects_of(place).keys()
    assert forget(place.path("out"), [photograph_key(1)], run=RUN).num_sources == 1
