from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from unlabeled.jobs.schedule import Schedule, now
from unlabeled.jobs.schedule_run import TickReport, run_forever, run_tick
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.storage import Store

from tests.small_datasets import fill, jpeg


def schedule(command: str, **changes: Any) -> Schedule:
    given = {"name": "nightly", "cron": "* * * * *", "command": command, "retry_wait_seconds": 0.1}
    return Schedule(**{**given, **changes})


def test_a_tick_runs_its_command() -> None:
    report = run_tick(schedule("tasks -t image_rotation --json"), now())
    assert (report.outcome, report.exit_code, report.num_tries) == ("done", 0, 1)


def test_what_may_pass_is_tried_again_and_what_will_not_is_not(tmp_path: Path) -> None:
    failing = run_tick(schedule(f"show {tmp_path}", retries=2), now())
    assert (failing.outcome, failing.exit_code, failing.num_tries) == ("failed", 1, 3)
    wrong = run_tick(schedule(f"verify {tmp_path} --rederive 7", retries=2), now())
    assert (wrong.outcome, wrong.exit_code, wrong.num_tries) == ("failed", 2, 1)


def test_a_tick_that_takes_too_long_is_stopped() -> None:
    report = run_tick(schedule("tasks", deadline_seconds=1).model_copy(update={"deadline_seconds": 0.2}), now())
    assert (report.outcome, report.num_tries) == ("too_late", 1)


def test_a_tick_while_another_run_is_at_work_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "in", {"a.jpg": jpeg(0)})
    command = f"materialize -t image_rotation -i {tmp_path}/in -o {tmp_path}/out --set task.side_px=16"
    with acquire(Store.open(tmp_path / "out")):
        report = run_tick(schedule(command), now())
    assert (report.outcome, report.exit_code, report.num_tries) == ("refused", 4, 1)


def test_a_missed_tick_is_made_up_for_once_and_remembered(tmp_path: Path) -> None:
    state = tmp_path / "state" / "nightly.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"last_tick": (now() - timedelta(minutes=30)).isoformat()}))
    reports: list[TickReport] = []
    run_forever(schedule("tasks -t image_rotation"), state, reports.append, max_ticks=1)
    (report,) = reports
    assert report.outcome == "done"
    assert json.loads(state.read_text())["last_tick"] == report.due.isoformat()
    assert now() - report.due < timedelta(minutes=2)
