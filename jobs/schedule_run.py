"""Schedules without Kubernetes: wait for ticks, run them, try again where that may help."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
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

_LOG = logging.getLogger(__name__)
#: For a command that was told to stop: its own grace time and some more.
_STOP_SECONDS = 150.0


class TickReport(BaseModel):
    """What became of one tick. `refused`: another run was at work on the dataset."""

    model_config = ConfigDict(frozen=True)

    name: str
    due: datetime
    outcome: Literal["done", "refused", "failed", "too_late"]
    exit_code: int
    num_tries: int
    seconds: float


def run_tick(schedule: Schedule, due: datetime) -> TickReport:
    """Run a tick's command, again where that may help, and return what became of it.

    What the command prints on stdout goes to stderr: stdout is the report's.
    """
    started = time.monotonic()
    wait_seconds = schedule.retry_wait_seconds
    num_tries, exit_code, is_late = 0, 0, False
    while True:
        num_tries += 1
        left = schedule.deadline_seconds - (time.monotonic() - started)
        exit_code, is_late = _run(schedule, max(0.1, left))
        if is_late or exit_code in (0, Conflict.exit_code, *HOPELESS_EXIT_CODES) or num_tries > schedule.retries:
            break
        if time.monotonic() - started + wait_seconds > schedule.deadline_seconds:
            break
        time.sleep(wait_seconds)
        wait_seconds *= 2
    outcome: Literal["done", "refused", "failed", "too_late"] = "failed"
    if exit_code in (0, Conflict.exit_code):
        outcome = "refused" if exit_code else "done"
    return TickReport(
        name=schedule.name,
        due=due,
        outcome="too_late" if is_late else outcome,
        exit_code=exit_code,
        num_tries=num_tries,
        seconds=round(time.monotonic() - started, 3),
    )


def _run(schedule: Schedule, seconds: float) -> tuple[int, bool]:
    """Run the command once; (exit code, whether it was stopped for being late)."""
    command = [sys.executable, "-m", "unlabeled.jobs", *schedule.argv()]
    with subprocess.Popen(command, stdout=sys.stderr, start_new_session=True) as process:
        try:
            return process.wait(timeout=seconds), False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        except BaseException:
            # This process was told to stop: so is the command, which then finishes what it has in hand.
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=_STOP_SECONDS)
            raise
        try:
            return process.wait(timeout=_STOP_SECONDS), True
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(), True


def run_forever(
    schedule: Schedule, state: Path, on_tick: Callable[[TickReport], None], *, max_ticks: int | None = None
) -> None:
    """Run every tick as it comes due; `state` remembers the last one, so that a missed tick is known.

    Ticks never overlap here: one that comes due during a run is refused (skipped), or queued as one late run.
    """
    last = _read_state(state) or now()
    num_ticks = 0
    while max_ticks is None or num_ticks < max_ticks:
        due = schedule.missed_tick(last, now())
        if due is None:
            due = schedule.next(max(last, now()))
            _LOG.info("%s: next at %s", schedule.name, due.isoformat())
            while (left := (due - now()).total_seconds()) > 0:
                time.sleep(min(left, 30.0))  # the clock may be set meanwhile
        _write_state(state, due)
        on_tick(run_tick(schedule, due))
        num_ticks += 1
        last = due if schedule.overlap == "queue" else now()


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
