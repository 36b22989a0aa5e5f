from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
import yaml
from unlabeled.pipeline.card import dataset_card
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.manifest import Manifest, files_of, load_tables
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools

from tests.small_datasets import fill, jpeg, make, target


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Manifest]]:
    folder = tmp_path_factory.mktemp("card")
    files = {**{f"{number}.jpg": jpeg(number) for number in range(12)}, "tiny.png": jpeg(0, 2, 2), "bad.jpg": b"no"}
    inputs, of = Store.open(str(fill(folder / "in", files))), target(folder / "out")
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as closing:
        tools = Tools(fence, folder, closing)
        make(of, inputs, tools)
        inputs.delete(["0.jpg"])
        yield of, make(of, inputs, tools).manifest


def card_of(made: tuple[Target, Manifest]) -> str:
    of, manifest = made
    return dataset_card(manifest, load_tables(of.store, manifest))


def test_the_header_lists_the_files_of_the_version_split_by_split(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    header = yaml.safe_load(card_of(made).split("---\n")[1])
    (config,) = header["configs"]
    tables = load_tables(of.store, manifest, "shards")
    assert config["data_files"] == [
        {"split": "train", "path": files_of(tables, "train")},
        {"split": "val", "path": files_of(tables, "val")},
    ]
    assert header["tags"] == ["self-supervised", "tiny"]


def test_datasets_loads_exactly_the_version(made: tuple[Target, Manifest], tmp_path: Path) -> None:
    of, manifest = made
    # A file of an earlier version, which no longer counts, still lies beside the others.
    num_files = len([info for page in of.store.list("data") for info in page])
    assert num_files > manifest.counts.num_shards
    loaded = datasets.load_dataset(of.store.uri, cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in loaded.items()} == {
        name: split.num_examples for name, split in manifest.splits.items()
    }
    assert loaded["train"].features["label"] == datasets.ClassLabel(names=["even", "odd"])
    assert "0.jpg" not in {*loaded["train"]["source_key"], *loaded["val"]["source_key"]}


def test_a_person_reads_what_it_is(made: tuple[Target, Manifest]) -> None:
    _, manifest = made
    card = card_of(made)
    counts = manifest.counts
    assert f"# tiny: {counts.num_examples} examples from 11 sources" in card
    assert "Of 13 sources 11 are used, 1 filtered and\n1 rejected." in card
    assert "- filtered, too_small: 1" in card
    assert "- rejected, unidentified: 1" in card
    assert manifest.fingerprint in card
    assert "| `label` | int64 | label | of the draw |" in card
    for name, split in manifest.splits.items():
        assert f"| {name} | {split.num_examples} | {split.num_shards} | {split.num_bytes:,} |" in card


def test_the_card_names_no_place(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    assert of.store.uri not in card_of(made)
    assert manifest.input_uri not in card_of(made)
