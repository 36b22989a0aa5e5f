from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unlabeled.jobs.gc import collect_garbage
from unlabeled.jobs.reading import show
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Conflict, NotFound
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools

from tests.small_datasets import fill, jpeg, make, target

ORPHAN = "data/train/orphan.parquet"
#: What a write that was killed leaves beside its target on a local disk.
UNFINISHED = "data/train/.0123456789abcdef.unlabeled-tmp"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    inputs, of = Store.open(str(fill(tmp_path / "in", {"a.jpg": jpeg(0), "b.jpg": jpeg(1)}))), target(tmp_path / "out")
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as closing:
        make(of, inputs, Tools(fence, tmp_path, closing))
    fill(tmp_path / "out", {ORPHAN: bytes(100), UNFINISHED: bytes(50)})
    return tmp_path / "out"


def make_older(dataset: Path, days: float) -> None:
    for path in dataset.rglob("*"):
        seconds = path.stat().st_mtime - days * 86400
        os.utime(path, (seconds, seconds))


def test_what_is_young_is_only_counted(dataset: Path) -> None:
    report = collect_garbage(str(dataset), delete=True)
    assert (report.num_objects, report.keys, report.num_pending_uploads) == (0, [], 0)
    assert report.num_spared >= 1
    assert (dataset / ORPHAN).exists()
    assert (dataset / UNFINISHED).exists()


def test_without_delete_nothing_is_removed(dataset: Path) -> None:
    make_older(dataset, 8)
    report = collect_garbage(str(dataset))
    assert ORPHAN in report.keys
    assert (report.deleted, report.num_objects, report.num_pending_uploads) == (False, len(report.keys), 1)
    assert report.num_bytes == 100
    assert (dataset / ORPHAN).exists()
    assert (dataset / UNFINISHED).exists()


def test_with_delete_it_is_removed_and_the_dataset_stays_whole(dataset: Path) -> None:
    make_older(dataset, 8)
    before = show(str(dataset))
    assert collect_garbage(str(dataset), delete=True).deleted
    assert not (dataset / ORPHAN).exists()
    assert not (dataset / UNFINISHED).exists()
    after = show(str(dataset))
    assert after == before
    assert all(Path(name).is_file() for names in after.files.values() for name in names)


def test_the_grace_time_is_a_choice(dataset: Path) -> None:
    make_older(dataset, 1)
    assert ORPHAN not in collect_garbage(str(dataset)).keys
    assert ORPHAN in collect_garbage(str(dataset), min_age_days=0.5).keys


def test_where_no_dataset_stands_nothing_is_touched(tmp_path: Path) -> None:
    fill(tmp_path, {ORPHAN: b"not ours"})
    make_older(tmp_path, 8)
    with pytest.raises(NotFound, match="no dataset stands here"):
        collect_garbage(str(tmp_path), delete=True)
    assert (tmp_path / ORPHAN).exists()


def test_while_a_run_is_at_work_nothing_is_removed(dataset: Path) -> None:
    make_older(dataset, 8)
    with acquire(Store.open(str(dataset))):
        with pytest.raises(Conflict, match="another run is at work"):
            collect_garbage(str(dataset), delete=True)
        assert ORPHAN in collect_garbage(str(dataset)).keys
    assert (dataset / ORPHAN).exists()
    assert collect_garbage(str(dataset), delete=True).num_objects >= 1
    assert not (dataset / ORPHAN).exists()
