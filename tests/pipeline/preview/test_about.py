from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.pipeline.facts import Facts, limits
from unlabeled.pipeline.manifest import Manifest, Tables, load_tables, require_manifest
from unlabeled.pipeline.preview import about
from unlabeled.pipeline.storage import Store

from tests.audited import family, report, trivial
from tests.pipeline.preview.shown import FILES, make_dataset, read

Dataset = tuple[Store, Manifest, Tables]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    store = make_dataset(tmp_path_factory.mktemp("about"), FILES)
    manifest = require_manifest(store)
    return store, manifest, load_tables(store, manifest)


def test_what_is_left_out_stands_by_reason_with_key_and_message(dataset: Dataset) -> None:
    _, manifest, tables = dataset
    page = read(about.left_out(manifest, tables))
    assert "1 filtered: sound, but no example for this task" in page.texts
    assert {"<b>small.jpg", "<i>broken.jpg", "too_small", "for good"} <= set(page.texts)
    assert not page.all("i")


def test_nothing_left_out_is_said_in_words(tmp_path: Path) -> None:
    store = make_dataset(tmp_path, {key: data for key, data in FILES.items() if key[0].isdigit()})
    manifest = require_manifest(store)
    assert "Nothing: every source is used." in about.left_out(manifest, load_tables(store, manifest))


def test_every_column_has_its_role_and_meaning(dataset: Dataset) -> None:
    page = read(about.columns(dataset[1]))
    for name, feature in dataset[1].typed_features():
        assert {name, feature.role, feature.doc} <= set(page.texts)


def test_settings_seed_and_fingerprint_are_there(dataset: Dataset) -> None:
    manifest = dataset[1]
    page = read(about.settings(manifest, Facts("mit <b>")))
    assert {manifest.fingerprint, manifest.recipe_hash, manifest.input_uri, "seed"} <= set(page.texts)
    assert {"mit <b>", "every source by itself"} <= set(page.texts)
    assert '"val_fraction": 0.25' in page.text


def test_no_audit_and_no_licence_are_said(dataset: Dataset) -> None:
    assert "not audited yet: run unlabeled audit DATASET" in read(about.leakage(Facts())).text
    assert "licencenot given" in read(about.settings(dataset[1], Facts())).text


def test_verdicts_stand_with_the_failing_family_first() -> None:
    found = report(verdict="fail", families=(family("geometry", "pass"), family("container", "fail")))
    page = read(about.leakage(Facts(None, found)))
    assert "fail: container (1,000 of 4,000 examples were looked at)" in page.texts
    assert [text for text in page.texts if text in ("geometry", "container")] == ["container", "geometry"]
    assert {"0.500 [0.400, 0.600]", "what it <looks> at"} <= set(page.texts)


def test_what_nothing_learnt_solves_is_shown() -> None:
    page = read(about.leakage(Facts(None, report(trivial=(trivial("mean", "pass"),)))))
    assert {"mean", "10.0% [5.0%, 15.0%]"} <= set(page.texts)


def test_limits_are_a_list(dataset: Dataset) -> None:
    page = read(about.limits(dataset[1]))
    assert "--dedup" in page.texts
    assert page.text == "Limits" + "".join(limits(dataset[1])).replace("`", "")


def test_a_local_dataset_is_loaded_by_its_folder_and_a_remote_one_by_its_files(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dataset[0]
    assert f"load_dataset({store.uri!r})" in read(about.loading(store)).text
    assert "--files" in read(about.loading(Store.open("s3://bucket/dataset"))).text


def test_a_section_can_be_linked_to() -> None:
    page = read(about.section("sizes", "Sizes & more"))
    assert page.all("h2") == [{"id": "sizes"}]
    assert page.text == "Sizes & more"
