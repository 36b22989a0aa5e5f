"""One JSON object a line."""

from __future__ import annotations

import io
import json

import pytest
from unlabeled.jobs.log_lines import JsonLines, run_id

ROW = {
    "target": 0,
    "shard_id": "ab12",
    "num_rows": 3,
    "num_bytes": 9,
    "num_sources": 2,
    "num_rejected": 1,
    "num_bytes_in": 7,
    "cpu_seconds": 0.5,
    "error": "",
}


def test_each_event_is_a_line_with_run_and_shard() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, "nightly-a1")
    lines.phase("listing")
    lines.planned(4, 1, 9)
    lines.shard_done(ROW)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in told] == ["phase", "planned", "shard_done"]
    assert {line["run_id"] for line in told} == {"nightly-a1"}
    assert told[2]["shard_id"] == "ab12"
    assert told[2]["num_rejected"] == 1


def test_a_run_is_known_by_its_jobs_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_SUBMISSION_ID", "rotation-a2")
    assert run_id() == "rotation-a2"


def test_a_run_without_a_job_gets_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_SUBMISSION_ID", raising=False)
    assert run_id() != run_id()
