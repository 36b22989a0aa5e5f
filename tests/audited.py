"""Audits in this process, and reports made by hand."""

from __future__ import annotations

from typing import Any

from unlabeled.pipeline.audit.judge import judge_families, judge_trivial
from unlabeled.pipeline.audit.measure import Spec
from unlabeled.pipeline.audit.report import AuditReport, FamilyReport, Judgement, MeaningReport, TrivialReport
from unlabeled.pipeline.audit.sample import choose_units, measure_here
from unlabeled.pipeline.manifest import require_manifest
from unlabeled.pipeline.storage import Store


def families_of(store: Store, max_examples: int = 4000) -> dict[str, FamilyReport]:
    """Return the verdicts on a dataset's (first) label by family."""
    manifest = require_manifest(store)
    spec = Spec.of(manifest)
    table = measure_here(store, spec, choose_units(store, manifest, max_examples))
    first = (*spec.targets, "same")[0]
    return {one.family: one for one in judge_families(table, spec, 0) if one.target == first}


def trivial_of(store: Store) -> dict[str, TrivialReport]:
    """Return what trivial predictors make of a dataset."""
    manifest = require_manifest(store)
    table = measure_here(store, Spec.of(manifest), choose_units(store, manifest, 1000))
    return {one.predictor: one for one in judge_trivial(table)}


def family(name: str, verdict: Judgement, score: float = 0.5) -> FamilyReport:
    return FamilyReport(
        family=name,
        about="what it <looks> at",
        target="label",
        measure="accuracy",
        score=score,
        low=score - 0.1,
        high=score + 0.1,
        control=0.0,
        p_holm=0.001,
        num_examples=1000,
        num_groups=250,
        verdict=verdict,
        num_missing=500 if verdict == "inconclusive" else 0,
    )


def trivial(name: str, verdict: Judgement, solved: float = 0.1) -> TrivialReport:
    return TrivialReport(
        predictor=name,
        skill=0.0,
        skill_low=-0.1,
        skill_high=0.1,
        solved=solved,
        solved_low=solved - 0.05,
        solved_high=solved + 0.05,
        num_examples=1000,
        num_groups=250,
        verdict=verdict,
    )


def report(**changes: Any) -> AuditReport:
    values: dict[str, Any] = {
        "dataset": "file:///<data>",
        "version": 1,
        "fingerprint": "0" * 64,
        "task": "image_rotation",
        "objective": "classification",
        "verdict": "pass",
        "meaning": MeaningReport(verdict="skipped", message="Not asked for."),
        "families": (),
        "trivial": (),
        "num_dataset_examples": 4000,
        "num_examples": 1000,
        "num_groups": 250,
        "seconds": 1.5,
    }
    return AuditReport(**{**values, **changes})
