from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.audit.report import store_verdicts, verdicts_key
from unlabeled.pipeline.config import RunSettings, parse
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.facts import Facts, audit_text, groups_text, kept_card, licence_in, limits
from unlabeled.pipeline.manifest import Manifest, require_manifest
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import Modality

from tests.audited import family, report
from tests.pipeline.preview.shown import FILES, make_dataset
from tests.small_datasets import recipe


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return require_manifest(make_dataset(tmp_path_factory.mktemp("facts"), FILES))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "every source by itself"),
        ({"dedup": "group"}, "every source by itself, but near-duplicates share a group"),
        ({"dedup": "drop"}, "every source by itself; of near-duplicates one is used"),
        ({"group_by": r"p(\d+)"}, r"by the expression p(\d+)"),
        ({"group_by": "p", "dedup": "group"}, "by the expression p, but near-duplicates share a group"),
        ({"group_csv_sha256": "0123456789abcdef" * 4}, "from a csv of source_key,group (sha256 0123456789abcdef)"),
    ],
)
def test_groups_are_said_as_they_are(changes: dict[str, Any], text: str) -> None:
    assert groups_text(recipe(**changes)) == text


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: mit\nconfigs: []\n---\n", "mit"),
        (b"---\r\nlicense: mit\r\n---\r\n", "mit"),
        (b"---\nlicense: 'a: b'\n---\n", "a: b"),
        (b"---\nconfigs: []\n---\nlicense: mit\n", None),
        (b"---\nlicense: [mit]\n---\n", None),
        (b"---\nlicense: 'mit\n---\n", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_the_licence_is_read_from_the_first_line_of_the_header(card: bytes, licence: str | None) -> None:
    assert licence_in(card) == licence


@pytest.mark.parametrize("licence", ["", " mit", "a\nb", "x" * 201])
def test_a_licence_is_one_line(licence: str) -> None:
    with pytest.raises(ConfigError, match="setting `licence`"):
        parse(RunSettings, {"licence": licence})


def test_without_a_card_there_is_none(tmp_path: Path) -> None:
    assert kept_card(Store.open(tmp_path)) == b""


def test_the_audit_of_the_version_is_found(tmp_path: Path) -> None:
    store, kept = Store.open(tmp_path), report()
    store_verdicts(store, kept)
    assert Facts.of(store, 1, "mit") == Facts("mit", kept, "")
    assert Facts.of(store, 2, None) == Facts(None, None, "not audited yet: run `unlabeled audit DATASET`")


def test_a_damaged_audit_stops_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(verdicts_key(1), b"{}")
    assert Facts.of(store, 1, None).audit is None
    assert "cannot be read: run `unlabeled audit DATASET` again" in Facts.of(store, 1, None).audit_note


def test_what_fails_is_named_in_the_sentence() -> None:
    failed = report(verdict="fail", families=(family("container", "fail"),))
    assert audit_text(failed) == "fail: container (1,000 of 4,000 examples were looked at)"
    assert audit_text(report()) == "pass (1,000 of 4,000 examples were looked at)"


def test_limits_follow_the_settings(manifest: Manifest) -> None:
    said = limits(manifest)
    assert said[0].startswith("2 of 16 sources gave no example")
    assert any("Near-duplicates were not looked for" in sentence for sentence in said)
    assert any("max_pixels 50,000,000" in sentence for sentence in said)
    grouped = manifest.recipe.model_copy(update={"group_by": "p", "dedup": "group"})
    changed = limits(manifest.model_copy(update={"recipe": grouped}))
    assert any("what fingerprints find" in sentence for sentence in changed)
    assert not any("--group-by" in sentence for sentence in changed)


@pytest.mark.parametrize("modality", Modality)
def test_every_kind_of_media_has_its_limits(manifest: Manifest, modality: Modality) -> None:
    of_medium = manifest.model_copy(update={"modality": str(modality)})
    assert any("were rejected: max_" in sentence for sentence in limits(of_medium))
