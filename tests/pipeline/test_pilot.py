from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from unlabeled.pipeline import pilot as module
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA, SourceReader, take_inventory
from unlabeled.pipeline.pilot import Pilot, hash_sources, run_pilot, sample_items
from unlabeled.pipeline.plan import first_in_plan_order
from unlabeled.pipeline.rng import sha256_hex
from unlabeled.pipeline.storage import Store

from tests.small_datasets import Neighbours, Tiny, fill, inventory_rows, jpeg, target

FILES = {**{f"{number}.jpg": jpeg(number) for number in range(8)}, "tiny.png": jpeg(0, 2, 2), "bad.jpg": b"no"}


@pytest.fixture
def inputs(tmp_path: Path) -> Store:
    return Store.open(str(fill(tmp_path / "in", FILES)))


@pytest.fixture
def rows(inputs: Store) -> pa.Table:
    return take_inventory(inputs.uri).sources


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


def test_figures_scale_with_the_number_of_sources() -> None:
    assert Pilot(10, 8, 32, 1000, 0.5).scaled(25) == Pilot(25, 20, 80, 2500, 1.25)


def test_nothing_scales_to_nothing() -> None:
    assert Pilot(0, 0, 0, 0, 0.0).scaled(25) == Pilot(25, 0, 0, 0, 0.0)


def test_a_sample_is_the_same_for_every_listing() -> None:
    keys = [str(number) for number in range(50)]
    one, other = (first_in_plan_order(inventory_rows(names), 7) for names in (keys, keys[::-1]))
    assert one.equals(other)
    assert one.num_rows == 7
    # A fair sample: not what comes first by name.
    assert one["source_key"].to_pylist() != sorted(keys)[:7]


def test_a_sample_of_few_is_all_of_them() -> None:
    assert first_in_plan_order(inventory_rows(["a", "b"]), 7).num_rows == 2


def test_a_pilot_measures_and_leaves_nothing(tmp_path: Path, inputs: Store, rows: pa.Table) -> None:
    of = target(tmp_path / "out")
    found = run_pilot(of, inputs, rows)
    assert (found.num_sources, found.num_used, found.num_examples) == (len(FILES), 8, 16)
    assert found.num_bytes > 16 * 8
    assert found.cpu_seconds > 0
    assert not [info for page in of.store.list() for info in page]


def test_a_pilot_looks_at_a_few_only(tmp_path: Path, inputs: Store, rows: pa.Table) -> None:
    assert run_pilot(target(tmp_path / "out"), inputs, rows, 3).num_sources == 3


def test_a_pilot_finds_partners(tmp_path: Path, inputs: Store, rows: pa.Table) -> None:
    assert run_pilot(target(tmp_path / "out", Neighbours(num_negatives=3)), inputs, rows).num_used == 9


def test_a_pilot_of_what_cannot_be_used(tmp_path: Path) -> None:
    inputs = Store.open(str(fill(tmp_path / "in", {"bad.jpg": b"no"})))
    found = run_pilot(target(tmp_path / "out"), inputs, take_inventory(inputs.uri).sources)
    assert (found.num_sources, found.num_used, found.num_bytes) == (1, 0, 0)


def test_items_of_a_sample_are_decoded_and_broken_ones_passed_over(
    inputs: Store, rows: pa.Table, fence: Fence
) -> None:
    items = list(sample_items(Tiny(), inputs, rows, fence))
    assert sorted(item.width_px for item in items) == [2, *[32] * 8]


def test_content_is_hashed(inputs: Store, rows: pa.Table) -> None:
    assert hash_sources(inputs, rows) == {key: sha256_hex(data) for key, data in FILES.items()}


def test_content_is_hashed_whatever_its_etag(inputs: Store) -> None:
    assert hash_sources(inputs, inventory_rows(["0.jpg"], 3, "another")) == {"0.jpg": sha256_hex(FILES["0.jpg"])}


@pytest.mark.parametrize("ranged_above_bytes", [1 << 26, 1])
def test_what_is_gone_is_left_out(
    inputs: Store, rows: pa.Table, monkeypatch: pytest.MonkeyPatch, ranged_above_bytes: int
) -> None:
    def reader(store: Store, of: pa.Table, *, check_etag: bool = True) -> SourceReader:
        return SourceReader(store, of, check_etag=check_etag, ranged_above_bytes=ranged_above_bytes)

    monkeypatch.setattr(module, "SourceReader", reader)
    inputs.delete(["3.jpg"])
    digests = hash_sources(inputs, rows)
    assert set(digests) == set(FILES) - {"3.jpg"}
    assert digests["4.jpg"] == sha256_hex(FILES["4.jpg"])


def test_no_sources_no_hashes(inputs: Store) -> None:
    assert hash_sources(inputs, INVENTORY_SCHEMA.empty_table()) == {}
