from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.jobs.audit_meaning import judge_meaning, meaning_of
from unlabeled.pipeline.audit.measure import Spec
from unlabeled.pipeline.audit.sample import choose_units
from unlabeled.pipeline.audit.scores import Score
from unlabeled.pipeline.manifest import require_manifest

from tests import planted
from tests.audited import family


def _score(value: float, half: float, num_examples: int = 1000) -> Score:
    return Score(value, value - half, value + half, half / 2, num_examples, 100)


@pytest.mark.parametrize(
    ("score", "artefact", "verdict"),
    [
        (_score(0.6, 0.05), 0.2, "meaningful"),
        (_score(0.5, 0.05), 0.5, "leaky"),
        (_score(0.0, 0.03), 0.0, "void"),
        (_score(0.05, 0.2), 0.0, "inconclusive"),
        (_score(0.03, 0.02), 0.0, "inconclusive"),
        (_score(0.0, 0.03, 400), 0.0, "inconclusive"),
    ],
)
def test_a_network_is_held_against_chance_and_artefacts(score: Score, artefact: float, verdict: str) -> None:
    families = [family("container", "fail", artefact)] if artefact else []
    found = meaning_of(score, families, "label", 4)
    assert found.verdict == verdict
    assert found.message


def test_few_examples_of_many_classes_do_not_make_a_label_void() -> None:
    assert meaning_of(_score(0.0, 0.03), [], "label", 100).verdict == "inconclusive"


@pytest.mark.parametrize(("task", "is_asked"), [("image_rotation", True), ("image_masked_patches", False)])
def test_labels_with_classes_alone_are_put_to_it(task: str, is_asked: bool, tmp_path: Path) -> None:
    store = planted.build(task, planted.photographs(tmp_path / "in", 13), tmp_path / "out", side_px=48)
    manifest = require_manifest(store)
    found = judge_meaning(store, Spec.of(manifest), choose_units(store, manifest, 100), [], 0)
    assert (found.num_examples == 52) == is_asked
    assert (found.verdict == "skipped") != is_asked
