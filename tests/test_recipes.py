"""Datasets stored as recipes: the same examples from fewer bytes, whoever reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from unlabeled.jobs.audit import Audit
from unlabeled.jobs.compact import Compact
from unlabeled.jobs.preview import preview
from unlabeled.jobs.reading import show_example
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.encode import decode_still, encode_jpeg, encode_turnable_jpeg
from unlabeled.pipeline.errors import ConfigError, CorruptData
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.materialize import check_same_recipe
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.data import Loader, LoaderSettings
from unlabeled.trainers.source import joined, open_source

from tests import planted, samples
from tests.runs import cli
from tests.small_datasets import fill

TASKS: dict[str, dict[str, Any]] = {
    "image_rotation": {},
    "image_jigsaw": {"puzzles": 6, "num_permutations": 8},
    "image_masked_patches": {},
    "image_inpainting": {},
    "image_colorization": {"side_px": 64},
}
#: Largest difference of a level, and the mean one, that coding once instead of once a turn may make.
LOSS = {"image_rotation": (24, 1.0)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _photographs(tmp_path_factory.mktemp("photographs"), 4)


def _photographs(folder: Path, num: int) -> Path:
    files = {}
    for seed in range(num):
        buffer = io.BytesIO()
        Image.fromarray(samples.photograph(seed, 400, 320)).save(buffer, "JPEG", quality=90)
        files[f"{seed}.jpg"] = buffer.getvalue()
    return fill(folder, files)


@pytest.fixture(scope="module")
def rotations(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """Return the same rotations, as pixels and as recipes."""
    folder = tmp_path_factory.mktemp("rotations")
    pixels = planted.build("image_rotation", photographs, folder / "pixels")
    return pixels, planted.build("image_rotation", photographs, folder / "recipe", stored="recipe")


def loaded(store: Store) -> dict[str, dict[str, Any]]:
    """Return every example of the dataset, by id."""
    manifest = require_manifest(store)
    settings = LoaderSettings(global_batch_size=manifest.bundle_size, num_lanes=1, last="pad")
    loader = Loader(store.uri, settings)
    return {
        name: {column: values[row] for column, values in batch.columns.items()}
        for batch in loader.batches(0, loader.steps_per_epoch)
        for row, name in enumerate(batch.example_ids)
    }


def num_bytes(store: Store) -> int:
    return require_manifest(store).counts.num_bytes


def shard_files(store: Store) -> list[str]:
    return files_of(load_tables(store, require_manifest(store), "shards"))


@pytest.mark.parametrize("task", TASKS)
def test_the_loader_gives_the_same_tensors(task: str, photographs: Path, tmp_path: Path) -> None:
    pixels = planted.build(task, photographs, tmp_path / "pixels", **TASKS[task])
    recipe = planted.build(task, photographs, tmp_path / "recipe", stored="recipe", **TASKS[task])
    assert (require_manifest(pixels).store, require_manifest(recipe).store) == ("pixels", "recipe")
    before, after = loaded(pixels), loaded(recipe)
    assert before.keys() == after.keys()
    assert before
    most, mean = LOSS.get(task, (0, 0.0))
    for name, example in before.items():
        assert example.keys() == after[name].keys()
        for column, expected in example.items():
            difference = np.abs(np.asarray(expected, np.float64) - np.asarray(after[name][column], np.float64))
            assert difference.max() <= most, column
            assert difference.mean() <= mean, column


def test_rotations_take_less_than_two_sevenths(tmp_path: Path) -> None:
    sources = _photographs(tmp_path / "in", 16)
    pixels = planted.build("image_rotation", sources, tmp_path / "pixels")
    recipe = planted.build("image_rotation", sources, tmp_path / "recipe", stored="recipe")
    assert num_bytes(pixels) >= 3.5 * num_bytes(recipe)


def test_many_puzzles_of_one_square_take_less(photographs: Path, tmp_path: Path) -> None:
    sizes = [
        num_bytes(planted.build("image_jigsaw", photographs, tmp_path / store, stored=store, puzzles=12))  # type: ignore[arg-type]
        for store in ("pixels", "recipe")
    ]
    assert sizes[0] > 2 * sizes[1]


def test_turning_a_decoded_crop_is_decoding_a_turned_one() -> None:
    def misfit(encode: Callable[[NDArray[np.uint8]], bytes]) -> float:
        pixels = samples.photograph(3, 224, 224)
        turned = decode_still(encode(np.rot90(pixels))).astype(int)
        return float(np.abs(np.rot90(decode_still(encode(pixels))) - turned).mean())

    assert misfit(encode_turnable_jpeg) < misfit(encode_jpeg) / 3


def test_rows_are_plain_parquet_with_a_crop_each(rotations: tuple[Store, Store]) -> None:
    _, recipe = rotations
    table = pq.read_table(io.BytesIO(recipe.get(shard_files(recipe)[0])))
    crops = [cell["bytes"] for cell in table["crop"].to_pylist()]
    assert "image" not in table.column_names
    assert len(crops) == 4 * len(set(crops))


def test_labels_follow_from_the_sources(rotations: tuple[Store, Store]) -> None:
    report = verify_dataset(rotations[1].uri, rederive_fraction=1.0)
    assert (report.ok, report.num_rederived_rows) == (True, 16)


def test_a_wrong_label_is_found(photographs: Path, tmp_path: Path) -> None:
    store = planted.build("image_rotation", photographs, tmp_path / "out", stored="recipe")

    def swap(rows: list[dict[str, Any]]) -> None:
        rows[0] |= {"label": (rows[0]["label"] + 1) % 4}

    planted.forge(store, swap, tmp_path)
    assert not verify_dataset(store.uri, rederive_fraction=1.0).ok


def test_the_preview_shows_what_is_seen(rotations: tuple[Store, Store], tmp_path: Path) -> None:
    report = preview(rotations[1].uri, tmp_path / "page.html")
    assert report.num_examples == 16
    page = (tmp_path / "page.html").read_text()
    assert "image of 0.jpg" in page


def test_the_audit_sees_what_a_model_would(rotations: tuple[Store, Store]) -> None:
    report = Audit(rotations[1].uri, meaning=False)()
    assert report.num_examples == 16
    assert {one.family for one in report.families} == {
        one.family for one in Audit(rotations[0].uri, meaning=False)().families
    }


def test_an_example_tells_its_crop_and_parameters(rotations: tuple[Store, Store]) -> None:
    name = next(iter(loaded(rotations[1])))
    columns = show_example(rotations[1].uri, name).columns
    assert columns["parameter"]["crop"]["num_bytes"] > 1000
    assert columns["input"] == {}


def test_small_shards_are_merged_without_growing(photographs: Path, tmp_path: Path) -> None:
    sources = fill(tmp_path / "in", {"0.jpg": (photographs / "0.jpg").read_bytes()})
    planted.build("image_rotation", sources, tmp_path / "out", stored="recipe")
    fill(sources, {"1.jpg": (photographs / "1.jpg").read_bytes()})
    store = planted.build("image_rotation", sources, tmp_path / "out", stored="recipe")
    before, size = loaded(store), num_bytes(store)
    report = Compact(store.uri).run()
    assert (report.num_made, report.num_merged) == (1, 2)
    assert num_bytes(store) < size
    after = loaded(store)
    assert all(np.array_equal(after[name]["image"], before[name]["image"]) for name in before)


def test_a_damaged_crop_is_noticed(rotations: tuple[Store, Store], tmp_path: Path) -> None:
    copy = Store.open(str(tmp_path))
    for page in rotations[1].list():
        for info in page:
            copy.put(info.key, rotations[1].get(info.key))
    (name,) = shard_files(copy)
    data = bytearray(copy.get(name))
    data[len(data) // 3] ^= 1
    copy.put(name, bytes(data))
    assert not verify_dataset(copy.uri).ok
    with pytest.raises(CorruptData):
        loaded(copy)


def test_stores_are_not_mixed(rotations: tuple[Store, Store]) -> None:
    with pytest.raises(ConfigError, match="it holds recipe, expected pixels"):
        joined([open_source(store.uri, "train") for store in rotations])


def test_bytes_cannot_be_had_of_what_is_made_at_load(rotations: tuple[Store, Store]) -> None:
    with pytest.raises(ConfigError, match="raw: found true"):
        Loader(rotations[1].uri, LoaderSettings(global_batch_size=4, raw=True))


def test_labels_alone_are_read_without_crops(rotations: tuple[Store, Store]) -> None:
    source = open_source(rotations[1].uri, "train", ["label"])
    assert set(source.read(0)) == {"label", "example_id"}


def test_from_the_command_line(photographs: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    flags = ["--input", str(photographs), "--output", out, "--set", "store=recipe"]
    made = cli("materialize", "--task", "image_rotation", *flags, "--num-cpus", "1", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["num_examples"] == 16
    assert require_manifest(Store.open(out)).store == "recipe"
    assert cli("verify", out, "--rederive", "1").returncode == 0


def test_a_task_without_recipes_is_refused_with_those_that_have_them(photographs: Path, tmp_path: Path) -> None:
    flags = ["--input", str(photographs), "--output", str(tmp_path / "out"), "--set", "store=recipe"]
    refused = cli("materialize", "--task", "image_patch_pairs", *flags)
    assert refused.returncode == 2
    assert "image_rotation" in refused.stderr


def test_the_store_of_a_dataset_cannot_be_changed(rotations: tuple[Store, Store]) -> None:
    pixels, recipe = (require_manifest(store).recipe for store in rotations)
    with pytest.raises(ConfigError, match="`store`: found 'recipe', but it was made with 'pixels'"):
        check_same_recipe(pixels, recipe, "it")
