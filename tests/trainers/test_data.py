"""The loader, on datasets that real tasks have made."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.cache import CacheSettings
from unlabeled.trainers.data import Batch, Loader, LoaderSettings, read_split
from unlabeled.trainers.mixture import DataShare

from tests.loading import labelled, pairs_of_clips, spoken, turns


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


def loader(store: Store, **settings: Any) -> Loader:
    return Loader(store.uri, LoaderSettings(**{"global_batch_size": 8, **settings}))


def stored_rows(store: Store, split: str) -> list[dict[str, Any]]:
    tables = load_tables(store, require_manifest(store), "shards")
    paths = [store.local_path(file) for file in files_of(tables, split)]
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def ids(batches: list[Batch]) -> list[str]:
    return [example_id for batch in batches for example_id in batch.example_ids]


def test_an_epoch_holds_every_example_once(store: Store) -> None:
    loading = loader(store)
    found = Counter(ids(list(loading.batches(0, loading.steps_per_epoch))))
    expected = {row["example_id"] for row in stored_rows(store, "train")}
    assert set(found.values()) == {1}
    assert found.keys() <= expected
    assert len(expected) - len(found) == loading.num_dropped_examples < 8


def test_batches_are_what_the_rows_hold(store: Store) -> None:
    rows = {row["example_id"]: row for row in stored_rows(store, "train")}
    for batch in loader(store).batches(0, 3):
        assert batch.columns["image"].shape == (8, 32, 32, 3)
        assert batch.columns["label"].tolist() == [rows[example_id]["label"] for example_id in batch.example_ids]


def test_the_four_turns_of_a_picture_share_a_batch(store: Store) -> None:
    rows = {row["example_id"]: row["source_key"] for row in stored_rows(store, "train")}
    for batch in loader(store).batches(0, 4):
        assert set(Counter(rows[example_id] for example_id in batch.example_ids).values()) == {4}


@pytest.mark.parametrize("world_size", [1, 2])
def test_ranks_share_the_batches_of_one(store: Store, world_size: int) -> None:
    whole = list(loader(store).batches(0, 4))
    shares = [list(loader(store, rank=rank, world_size=world_size).batches(0, 4)) for rank in range(world_size)]
    for step in range(4):
        parts = [share[step] for share in shares]
        assert sorted(ids(parts)) == sorted(whole[step].example_ids)
        assert {len(part.example_ids) for part in parts} == {8 // world_size}


def test_a_later_start_goes_on_with_the_same_batches(store: Store) -> None:
    steps = loader(store).steps_per_epoch
    whole = list(loader(store).batches(0, 2 * steps))
    rest = list(loader(store).batches(steps - 1, steps + 2))
    assert [(batch.step, batch.epoch, batch.example_ids) for batch in rest] == [
        (batch.step, batch.epoch, batch.example_ids) for batch in whole[steps - 1 : steps + 2]
    ]


def test_without_a_stop_the_batches_never_end(store: Store) -> None:
    loading = loader(store)
    num = 2 * loading.steps_per_epoch + 1
    assert [batch.step for batch in itertools.islice(loading.batches(), num)] == list(range(num))


def test_padding_loses_nothing(store: Store) -> None:
    loading = loader(store, last="pad", global_batch_size=16)
    found = Counter(ids(list(loading.batches(0, loading.steps_per_epoch))))
    assert found.keys() == {row["example_id"] for row in stored_rows(store, "train")}
    assert found.total() - len(found) == loading.num_padded_examples


def test_a_batch_that_would_tear_bundles_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="global_batch_size: found 6, expected a multiple of 4"):
        loader(store, global_batch_size=6)


def test_a_world_that_does_not_fit_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="world_size: found 3"):
        loader(store, world_size=3)


def test_datasets_are_mixed_exactly(store: Store, tmp_path: Path) -> None:
    other = turns(tmp_path, 8, first=100)
    of_other = {row["example_id"] for row in stored_rows(other, "train")}
    loading = Loader([DataShare(store.uri, 0.75), DataShare(other.uri, 0.25)], LoaderSettings(global_batch_size=16))
    assert loading.num_dropped_examples == 0
    for batch in loading.batches(0, 2 * loading.steps_per_epoch):
        assert sum(example_id in of_other for example_id in batch.example_ids) == 4


def test_a_mixture_is_the_same_for_every_world_and_from_every_step(store: Store, tmp_path: Path) -> None:
    other = turns(tmp_path, 8, first=100)
    data = [DataShare(store.uri, 0.7, 1), DataShare(other.uri, 0.3, 1)]

    def batches(start: int, rank: int = 0, world_size: int = 1) -> list[Batch]:
        settings = LoaderSettings(global_batch_size=24, rank=rank, world_size=world_size)
        return list(Loader(data, settings).batches(start, 8))

    whole = batches(0)
    assert [sorted(ids([batch])) for batch in batches(5)] == [sorted(ids([batch])) for batch in whole[5:]]
    for world_size in (2, 3, 6):
        shares = [batches(3, rank, world_size) for rank in range(world_size)]
        for step, parts in enumerate(zip(*shares, strict=True), start=3):
            assert sorted(ids(list(parts))) == sorted(whole[step].example_ids)
            assert {len(part.example_ids) for part in parts} == {24 // world_size}


@pytest.mark.s3
def test_a_remote_dataset_is_read_from_the_cache_again(s3: Any, store: Store, tmp_path: Path) -> None:
    remote = Store.open(f"{s3.uri}/turns", s3.options)
    for page in store.list():
        for info in page:
            remote.put(info.key, store.get(info.key))
    settings = LoaderSettings(global_batch_size=8, cache=CacheSettings(folder=tmp_path / "cache"))
    first = list(Loader(remote.uri, settings, s3.options).batches(0, 6))
    loading = Loader(remote.uri, settings, s3.options)
    remote.delete([info.key for page in remote.list("data") for info in page])
    second = list(loading.batches(0, 6))
    assert [batch.example_ids for batch in first] == [batch.example_ids for batch in second]
    assert all(np.array_equal(a.columns["image"], b.columns["image"]) for a, b in zip(first, second, strict=True))


def test_clips_of_one_recording_never_share_a_batch(tmp_path: Path) -> None:
    store = pairs_of_clips(tmp_path)
    recordings = {row["example_id"]: row["source_key"] for row in stored_rows(store, "train")}
    assert max(Counter(recordings.values()).values()) > 1
    loading = loader(store, global_batch_size=6)
    batches = list(loading.batches(0, 2 * loading.steps_per_epoch))
    for batch in batches:
        assert len({recordings[example_id] for example_id in batch.example_ids}) == 6
    num_seen = len(set(ids(batches[: loading.steps_per_epoch])))
    assert num_seen + loading.num_dropped_examples + loading.num_held_back_examples == len(recordings)


def test_raw_batches_hold_the_stored_bytes(store: Store) -> None:
    rows = {row["example_id"]: row["image"]["bytes"] for row in stored_rows(store, "train")}
    batch = next(loader(store, raw=True).batches())
    assert [bytes(cell) for cell in batch.columns["image"]] == [rows[example_id] for example_id in batch.example_ids]


def test_a_whole_split_is_read_in_plan_order(tmp_path: Path) -> None:
    store = labelled(tmp_path)
    expected = [row for split in ("train", "val") for row in stored_rows(store, split)]
    train = read_split(store.uri, "train")
    assert train.example_ids == tuple(row["example_id"] for row in stored_rows(store, "train"))
    assert train.columns["image"].shape == (len(train.example_ids), 32, 32, 3)
    everything = read_split(store.uri, "all", ["label"])
    assert sorted(everything.example_ids) == sorted(row["example_id"] for row in expected)
    assert Counter(everything.columns["label"].tolist()) == Counter(row["label"] for row in expected)
    assert read_split(store.uri, "train", ["label"], max_examples=3).example_ids == train.example_ids[:3]


def test_sounds_of_several_lengths_are_padded(tmp_path: Path) -> None:
    store = spoken(tmp_path)
    found = read_split(store.uri, "all").columns
    assert found["audio"].shape == (8, 16000 + 7 * 1600)
    assert sorted(found["audio_num_samples"].tolist()) == [16000 + n * 1600 for n in range(8)]
    assert not np.any(found["audio"][found["audio_num_samples"].argmin()][16000:])
