"""Row groups, read in part and checked in full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.manifest import require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.shard_reader import ShardReader
from unlabeled.trainers.units import Unit, Units, read_units

from tests.loading import turns

COLUMNS = ("image", "label", "example_id")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"), 12)


def units(store: Store, split: str = "train") -> Units:
    return read_units(store, require_manifest(store), split)  # type: ignore[arg-type]


def test_units_are_the_row_groups_in_plan_order(store: Store) -> None:
    manifest = require_manifest(store)
    assert [sum(unit.num_rows for unit in units(store, split)) for split in ("train", "val", "all")] == [
        manifest.splits["train"].num_examples,
        manifest.splits["val"].num_examples,
        manifest.counts.num_examples,
    ]


def test_a_unit_is_what_pyarrow_reads(store: Store) -> None:
    for unit in units(store, "all"):
        path = store.local_path(unit.file)
        assert path is not None
        expected = pq.ParquetFile(path).read_row_group(unit.row_group, columns=list(COLUMNS))
        found = ShardReader(store, COLUMNS).read(unit)
        assert found.pop("image") == [cell["bytes"] for cell in expected["image"].to_pylist()]
        assert {name: array.to_pylist() for name, array in found.items()} == expected.drop("image").to_pydict()


def test_only_wanted_columns_are_fetched(store: Store) -> None:
    class Counting:
        num_bytes = 0

        def get_view(self, key: str, start: int, length: int) -> memoryview:
            self.num_bytes += length
            return store.get_view(key, start, length)

        def describe(self, key: str) -> str:
            return store.describe(key)

    counting = Counting()
    unit = units(store)[0]
    ShardReader(counting, ("label",)).read(unit)  # type: ignore[arg-type]
    assert counting.num_bytes < unit.footer_num_bytes + 200


def damaged(store: Store, folder: Path, change: Callable[[bytearray, Unit], None]) -> tuple[Store, Unit]:
    """Return a store with a changed copy of the first unit's file, and the unit."""
    unit = units(store)[0]
    data = bytearray(store.get(unit.file))
    change(data, unit)
    copy = Store.open(str(folder))
    copy.put(unit.file, bytes(data))
    return copy, unit


def flip_page(data: bytearray, unit: Unit) -> None:
    data[data.index(b"\xff\xd8\xff") + 200] ^= 1


def flip_footer(data: bytearray, unit: Unit) -> None:
    data[-unit.footer_num_bytes + 40] ^= 1


def cut(data: bytearray, unit: Unit) -> None:
    del data[50:]


@pytest.mark.parametrize(
    ("change", "fault"), [(flip_page, "page .* checksum"), (flip_footer, "footer"), (cut, "footer")]
)
def test_damage_names_file_and_row_group(
    store: Store, tmp_path: Path, change: Callable[[bytearray, Unit], None], fault: str
) -> None:
    copy, unit = damaged(store, tmp_path, change)
    with pytest.raises(CorruptData, match=fault) as caught:
        ShardReader(copy, COLUMNS).read(unit)
    assert f"{unit.file}: row group {unit.row_group}" in str(caught.value)


def test_a_missing_file_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ShardReader(Store.open(str(tmp_path)), COLUMNS).read(units(store)[0])
