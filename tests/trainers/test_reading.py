"""Threads that read and decode rows of several units."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.reading import Reading
from unlabeled.trainers.sequence import Bundles
from unlabeled.trainers.source import open_source

from tests.loading import turns


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"), 8)


def test_rows_come_in_the_order_that_was_asked_for(store: Store) -> None:
    source = open_source(store.uri, "all", ["label_name"])
    rows = Bundles(np.array([1, 0, 1, 0]), np.array([3, 0, 0, 2]))
    with Reading(source, 2, 1, raw=False) as reading:
        ids, columns = reading.make(reading.plan(0, rows, 0)).result()
    expected = [source.read(unit)["example_id"][place].as_py() for unit, place in ((1, 3), (0, 0), (1, 0), (0, 2))]
    assert list(ids) == expected
    assert len(columns["label_name"]) == 4


def test_a_unit_that_is_used_again_is_read_once(store: Store) -> None:
    with Reading(open_source(store.uri, "all"), 2, 1, raw=False) as reading:
        rows = Bundles(np.array([0]), np.array([0]))
        first = reading.plan(0, rows, 1)
        assert reading.plan(1, rows, 1).units[0] is first.units[0]
        reading.plan(3, Bundles(np.array([1]), np.array([0])), 1)
        assert reading.plan(4, rows, 1).units[0] is not first.units[0]


def test_a_damaged_unit_is_told_and_threads_end(store: Store, tmp_path: Path) -> None:
    copy = Store.open(str(tmp_path))
    for page in store.list():
        for info in page:
            copy.put(info.key, store.get(info.key))
    source = open_source(copy.uri, "all")
    name = source.unit(0)[1].file
    copy.put(name, copy.get(name)[:-20] + bytes(20))
    rows = Bundles(np.array([0]), np.array([0]))
    with pytest.raises(CorruptData, match="row group 0"), Reading(source, 2, 1, raw=False) as reading:
        reading.make(reading.plan(0, rows, 0)).result()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "batch", "decode"))]
