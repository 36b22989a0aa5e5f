"""Batches that several processes make together are those of one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from unlabeled.pipeline.errors import ConfigError, CorruptData
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.data import Batch, Loader, LoaderSettings
from unlabeled.trainers.loader_processes import LoaderProcessDied, num_processes_for
from unlabeled.trainers.mixture import DataShare

from tests.loading import labelled, pairs_of_clips, spoken, turns, written


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


def batches(data: Any, num: int = 3, start: int = 0, **settings: Any) -> list[Batch]:
    return list(Loader(data, LoaderSettings(**{"global_batch_size": 8, **settings})).batches(start, start + num))


def loading() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "trainers.loader_child" in str(child.cmdline())]


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert [(each.step, each.epoch, each.example_ids) for each in found] == [
        (each.step, each.epoch, each.example_ids) for each in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one.columns.keys() == other.columns.keys()
        for name, column in other.columns.items():
            np.testing.assert_equal(one.columns[name], column)


@pytest.mark.parametrize(("rank", "world_size", "num_processes"), [(0, 1, 2), (1, 2, 1)])
def test_bundles_come_in_the_order_of_one_process(
    store: Store, rank: int, world_size: int, num_processes: int
) -> None:
    settings = {"rank": rank, "world_size": world_size, "start": 2}
    assert_equal(batches(store.uri, num_processes=num_processes, **settings), batches(store.uri, **settings))


@pytest.mark.parametrize(
    "made",
    [pairs_of_clips, labelled, lambda folder: written(folder)[0], spoken],
    ids=["pairs of clips", "pictures", "texts", "sounds"],
)
def test_every_medium_comes_as_from_one_process(made: Callable[[Path], Store], tmp_path: Path) -> None:
    uri = made(tmp_path).uri
    assert_equal(batches(uri, 2, global_batch_size=4, num_processes=4), batches(uri, 2, global_batch_size=4))


def test_stored_bytes_cross_too(store: Store) -> None:
    (found,), (expected,) = (batches(store.uri, 1, raw=True, num_processes=num) for num in (2, 0))
    assert [bytes(cell) for cell in found.columns["image"]] == [bytes(cell) for cell in expected.columns["image"]]


def test_a_mixture_comes_as_from_one_process(store: Store, tmp_path: Path) -> None:
    data = [DataShare(store.uri, 0.75), DataShare(turns(tmp_path, 8, first=100).uri, 0.25)]
    assert_equal(batches(data, global_batch_size=16, num_processes=4), batches(data, global_batch_size=16))


def test_what_a_process_finds_damaged_is_raised_here(tmp_path: Path) -> None:
    store = turns(tmp_path)
    for file in files_of(load_tables(store, require_manifest(store), "shards"), "train"):
        path = Path(store.local_path(file))
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    with pytest.raises(CorruptData, match=r"data/train/.*parquet"):
        batches(store.uri, num_processes=2)


def test_a_process_that_is_killed_is_missed(store: Store) -> None:
    feed = Loader(store.uri, LoaderSettings(global_batch_size=8, num_processes=2)).batches()
    next(feed)
    loading()[-1].kill()
    with pytest.raises(LoaderProcessDied, match="status -9"):
        list(itertools.islice(feed, 10))


def test_leaving_early_ends_the_processes(store: Store) -> None:
    feed = Loader(store.uri, LoaderSettings(global_batch_size=8, num_processes=2)).batches()
    next(feed)
    assert len(loading()) == 2
    feed.close()  # type: ignore[attr-defined]
    assert loading() == []


def test_a_number_that_does_not_divide_the_batch_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="num_processes: found 3, expected a divisor of 2"):
        Loader(store.uri, LoaderSettings(global_batch_size=8, num_processes=3))


def test_processes_are_as_many_as_cpus_allow_and_shares_can_be_dealt_to() -> None:
    assert [num_processes_for(cpus, 2, 24) for cpus in (1, 6, 16, 64)] == [1, 3, 8, 24]
    assert num_processes_for(64, 2, 7) == 7
