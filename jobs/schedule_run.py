"""Schedules without Kubernetes: wait for ticks, run them, try again where that may help."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..pipeline.errors import Conflict
from .schedule import Schedule, now
from .schedule_render import HOPELESS_EXIT_CODES
from .subcommand import Ended, run_subcommand

Outcome = Literal["done", "refused", "failed", "too_late"]


class TickReport(BaseModel):
    """What became of one tick. `refused`: another run was at work on the dataset."""

    model_config = ConfigDict(frozen=True)

    name: str
    due: datetime
    outcome: Outcome
    exit_code: int
    num_tries: int
    seconds: float


def run_tick(schedule: Schedule, due: datetime) -> TickReport:
    """Run a tick's command, again where that may help, and return what became of it.

    What the command prints on stdout goes to stderr: stdout is the report's.
    """
    started = time.monotonic()
    wait_seconds = schedule.retry_wait_seconds
    num_tries = 0
    while True:
        num_tries += 1
        left = schedule.deadline_seconds - (time.monotonic() - started)
        ended = run_subcommand(schedule.argv(), max(0.1, left))
        sys.stderr.write(ended.stdout.decode("utf-8", "replace"))
        is_settled = ended.is_late or ended.exit_code in (0, Conflict.exit_code, *HOPELESS_EXIT_CODES)
        if is_settled or num_tries > schedule.retries:
            break
        if time.monotonic() - started + wait_seconds > schedule.deadline_seconds:
            break
        time.sleep(wait_seconds)
        wait_seconds *= 2
    return TickReport(
        name=schedule.name,
        due=due,
        outcome=_outcome(ended),
        exit_code=ended.exit_code,
        num_tries=num_tries,
        seconds=round(time.monotonic() - started, 3),
    )


def _outcome(ended: Ended) -> Outcome:
    if ended.is_late:
        return "too_late"
    if ended.exit_code == Conflict.exit_code:
        return "refused"
    return "failed" if ended.exit_code else "done"


def run_forever(
    schedule: Schedule,
    state: Path,
    on_tick: Callable[[TickReport], None],
    *,
    max_ticks: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Run every tick as it comes due; `state` remembers the last one, so that a missed tick is known.

    Ticks never overlap here: one that comes due during a run is refused (skipped), or queued as one late run.
    """
    last = _read_state(state) or now()
    due = schedule.missed_tick(last, now())
    num_ticks = 0
    while max_ticks is None or num_ticks < max_ticks:
        if due is None:
            due = schedule.next(max(last, now()))
            say(f"{schedule.name}: next at {due.isoformat()}")
            while (left := (due - now()).total_seconds()) > 0:
                time.sleep(min(left, 30.0))  # the clock may be set meanwhile
        _write_state(state, due)
        on_tick(run_tick(schedule, due))
        num_ticks += 1
        last = now()
        due = schedule.newest_tick(due, last) if schedule.overlap == "queue" else None


def default_state(schedule: Schedule) -> Path:
    """Return the file that remembers the last tick, below XDG_STATE_HOME."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "unlabeled" / f"{schedule.name}.json"


def _read_state(path: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(path.read_text())["last_tick"])
    except FileNotFoundError:
        return None


def _write_state(path: Path, tick: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"last_tick": tick.isoformat()}))
    temporary.replace(path)
