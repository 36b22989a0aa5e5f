"""Verdicts are kept in the dataset and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.pipeline.audit.report import (
    AuditReport,
    FamilyReport,
    MeaningReport,
    TrivialReport,
    load_verdicts,
    store_verdicts,
    verdicts_key,
)
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.storage import Store

from tests.audited import family, report


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    kept = report(families=(family("container", "fail"), family("layout", "semantic")))
    store_verdicts(store, kept)
    store_verdicts(store, kept)
    assert load_verdicts(store, 1) == kept
    assert kept.failed == ("container",)


def test_without_an_audit_there_is_none(tmp_path: Path) -> None:
    assert load_verdicts(Store.open(tmp_path), 1) is None


def test_what_is_no_report_is_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(verdicts_key(1), b"{}")
    with pytest.raises(CorruptData, match=r"v00000001\.json: not an audit report"):
        load_verdicts(store, 1)


def test_a_trivial_task_is_named() -> None:
    figures = {"skill": 1.0, "skill_low": 1.0, "skill_high": 1.0, "solved": 1.0, "solved_low": 1.0, "solved_high": 1.0}
    solved = TrivialReport(predictor="mean", num_examples=9, num_groups=9, verdict="fail", **figures)
    assert report(trivial=(solved,)).failed == ("trivial mean",)


def test_the_worst_comes_first_and_what_is_legitimate_last() -> None:
    found = [
        family("a", "semantic", 0.9),
        family("b", "pass", 0.1),
        family("c", "fail", 0.3),
        family("d", "fail", 0.4),
    ]
    assert [one.family for one in report(families=tuple(found)).worst_first] == ["d", "c", "b", "a"]


def test_records_do_not_change() -> None:
    assert all(kind.model_config["frozen"] for kind in (AuditReport, FamilyReport, MeaningReport, TrivialReport))
