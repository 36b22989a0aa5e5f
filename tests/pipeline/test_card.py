from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
import yaml
from unlabeled.pipeline.audit.report import store_verdicts, verdicts_key
from unlabeled.pipeline.card import dataset_card, repair_card
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.facts import Facts, licence_in
from unlabeled.pipeline.manifest import Manifest, files_of, load_tables
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools

from tests.audited import family, report, trivial
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


def card_of(made: tuple[Target, Manifest], facts: Facts | None = None) -> str:
    of, manifest = made
    return dataset_card(manifest, load_tables(of.store, manifest), facts or Facts())


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


def test_the_card_names_where_the_sources_are_and_not_where_it_stands_itself(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    assert f"- sources: image, from `{manifest.input_uri}`" in card_of(made)
    assert of.store.uri not in card_of(made)


def test_groups_are_told_with_their_near_duplicates(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    grouped = manifest.recipe.model_copy(update={"group_by": "a`b|c", "dedup": "group"})
    card = dataset_card(manifest.model_copy(update={"recipe": grouped}), load_tables(of.store, manifest), Facts())
    assert "splits: by the expression `` a`b|c ``, but near-duplicates share a group\n" in card
    assert "splits: every source by itself\n" in card_of(made)


def test_limits_are_stated(made: tuple[Target, Manifest]) -> None:
    assert "## Limits\n\n- 2 of 13 sources gave no example" in card_of(made)
    assert "- Near-duplicates were not looked for" in card_of(made)


def test_without_an_audit_the_card_says_how_to_make_one(made: tuple[Target, Manifest]) -> None:
    assert "tell the label is not known: not audited yet: run `unlabeled audit DATASET`." in card_of(made)


def test_what_fails_the_audit_stands_first(made: tuple[Target, Manifest]) -> None:
    families = (family("geometry", "pass", 0.9), family("container", "fail", 0.2), family("grid_phase", "fail", 0.4))
    card = card_of(made, Facts(None, report(verdict="fail", families=families)))
    assert "Fail: container, grid_phase (1,000 of 4,000 examples were looked at)." in card
    rows = [line.split(" | ")[0] for line in card.splitlines() if "[" in line and line.startswith("|")]
    assert rows == ["| grid_phase", "| container", "| geometry"]
    assert "| grid_phase | `label` | 0.400 [0.300, 0.500] | fail |" in card


def test_trivial_predictors_stand_there_where_there_is_no_label(made: tuple[Target, Manifest]) -> None:
    card = card_of(made, Facts(None, report(verdict="pass", trivial=(trivial("mean", "pass"),))))
    assert "- mean, which has learnt nothing, solves 10.0%: pass" in card


@pytest.mark.parametrize("licence", ["cc-by-4.0", "Ours: ask us, # please", "no", "'" * 200])
def test_a_licence_is_the_first_line_of_the_header_and_is_read_back(
    made: tuple[Target, Manifest], licence: str
) -> None:
    card = card_of(made, Facts(licence))
    assert yaml.safe_load(card.split("---\n")[1])["license"] == licence
    assert licence_in(card.encode()) == licence
    assert f"- licence: `{licence}`" in card
    assert "- licence: not given" in card_of(made)


def test_the_card_is_repaired_and_a_sound_one_is_left_alone(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    tables = load_tables(of.store, manifest, "shards")
    of.store.put("README.md", b"old")
    repair_card(of.store, manifest, tables)
    assert of.store.get("README.md").decode() == card_of(made)
    before = of.store.head("README.md").last_modified
    repair_card(of.store, manifest, tables)
    assert of.store.head("README.md").last_modified == before


def test_a_licence_stays_until_another_is_given(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    tables = load_tables(of.store, manifest, "shards")
    for given, stated in (("mit", "mit"), (None, "mit"), ("cc0-1.0", "cc0-1.0")):
        repair_card(of.store, manifest, tables, given)
        assert licence_in(of.store.get("README.md")) == stated


def test_a_damaged_audit_is_said_to_be_one(made: tuple[Target, Manifest]) -> None:
    of, manifest = made
    tables = load_tables(of.store, manifest, "shards")
    of.store.put(verdicts_key(manifest.version), b"{}")
    repair_card(of.store, manifest, tables)
    assert "the audit that is kept cannot be read" in of.store.get("README.md").decode()
    store_verdicts(of.store, report(version=manifest.version))
    repair_card(of.store, manifest, tables)
    assert "Can cheap cues tell the label? Pass" in of.store.get("README.md").decode()


def test_no_learning_library_is_imported_for_the_card() -> None:
    code = (
        "import sys, unlabeled.pipeline.card, unlabeled.pipeline.preview.about\n"
        "print({'sklearn', 'scipy', 'torch', 'ray'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
