from __future__ import annotations

from typing import Any

import pytest
from unlabeled.jobs.materialize import MaterializeReport, PlanReport
from unlabeled.jobs.planned import print_plans, print_profiles, print_rejects, print_reports
from unlabeled.jobs.reading import RejectInfo, Rejects


def plan_report(**changes: Any) -> PlanReport:
    fields = dict.fromkeys(PlanReport.model_fields, 0)
    return PlanReport(**{**fields, "dataset": "s3://b/d[/x]", "task": "image_rotation", **changes})


def materialize_report(**changes: Any) -> MaterializeReport:
    fields: dict[str, Any] = dict.fromkeys(MaterializeReport.model_fields, 0)
    named = {
        "dataset": "s3://b/d[/x]",
        "task": "image_rotation",
        "version": 3,
        "published": True,
        "fingerprint": "f" * 64,
        "rejected_by_reason": {"corrupt": 2},
        "filtered_by_reason": {},
        "large_components": {},
        "cpu_seconds_by_stage": {"list": 0.5, "decode": 1.5},
    }
    return MaterializeReport(**{**fields, **named, **changes})


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_nothing_to_do_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_plans([plan_report(base_version=3)])
    assert printed(capsys) == "s3://b/d[/x]: nothing to do version 3"


def test_a_plan_says_where_its_estimate_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    print_plans([plan_report(num_shards_to_make=2, num_sources=1200, num_planned_sources=100, num_pilot_sources=64)])
    out = printed(capsys)
    assert "image_rotation -> s3://b/d[/x]" in out
    assert "sources 1,200 (100 to do)" in out
    assert "(pilot of 64)" in out
    assert "rejected at listing" not in out
    print_plans([plan_report(num_shards_to_make=2, num_rejected=3)])
    out = printed(capsys)
    assert "(constants)" in out
    assert "rejected at listing 3" in out


def test_a_version_that_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    print_reports([materialize_report(num_sources=10, num_used=8, num_rejected=2, num_examples=32, seconds=2.0)])
    out = printed(capsys)
    assert "s3://b/d[/x]: version 3 published" in out
    assert "10 = 8 used + 0 filtered + 2 rejected" in out
    assert "(16 examples/s)" in out
    assert "rejected 2 corrupt" in out
    assert "rejects s3://b/d[/x]" in out


def test_a_run_with_nothing_new(capsys: pytest.CaptureFixture[str]) -> None:
    print_reports([materialize_report(published=False, num_examples=32)])
    assert "nothing new, version 3 stands" in printed(capsys)


def test_a_run_in_no_time_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    print_reports([materialize_report(num_examples=32, seconds=0.0)])
    assert "(0 examples/s)" in printed(capsys)


def test_many_dead_letters_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    reject = RejectInfo(
        source_key="a",
        start=0,
        stage="decode",
        reason="corrupt",
        is_permanent=False,
        message="m",
        offset_bytes=None,
        attempt=0,
    )
    print_rejects(
        Rejects(
            dataset="d",
            version=1,
            num_sources=1000,
            num_rejected=103,
            num_transient=103,
            by_reason={"corrupt": 103},
            rejects=[reject] * 103,
        )
    )
    out = printed(capsys)
    assert "103 of 1,000 sources rejected (10.30%), 103 of them transient" in out
    assert "and 3 more; --json lists all" in out


def test_a_profile_is_a_table_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_profiles([materialize_report(num_sources=1000)])
    said = capsys.readouterr()
    assert said.out == ""
    rows = {words[0]: words[1:] for words in map(str.split, said.err.splitlines())}
    assert rows["decode"] == ["1.50", "1.500", "75.0%"]
    assert rows["all"] == ["2.00", "2.000", "100.0%"]
