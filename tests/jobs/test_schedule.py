from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.jobs.schedule import Schedule, load_schedule
from unlabeled.pipeline.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = """
name: nightly-rotation
cron: "30 2 * * *"
time_zone: Europe/Berlin
command: materialize -t image_rotation -i s3://bucket/photos -o s3://bucket/rotation
"""


def schedule(**changes: Any) -> Schedule:
    return Schedule(**{"name": "nightly", "cron": "30 2 * * *", "command": "verify s3://b/x", **changes})


def ticks(of: Schedule, after: datetime, count: int) -> list[str]:
    return [tick.isoformat() for tick in islice(of.ticks(after), count)]


def test_a_night_whose_hour_is_skipped_has_its_tick_when_the_hour_is_over() -> None:
    found = ticks(schedule(time_zone="Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=BERLIN), 2)
    assert found == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_a_night_whose_hour_comes_twice_has_one_tick() -> None:
    found = ticks(schedule(time_zone="Europe/Berlin"), datetime(2026, 10, 24, 12, tzinfo=BERLIN), 2)
    assert found == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_an_hourly_schedule_goes_on_through_both() -> None:
    found = ticks(
        schedule(cron="0 * * * *", time_zone="Europe/Berlin"), datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN), 3
    )
    assert found == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]


@given(after=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(ZoneInfo("UTC"))))
def test_the_next_tick_is_later_and_never_more_than_a_day_and_two_hours_away(after: datetime) -> None:
    tick = schedule(time_zone="Europe/Berlin").next(after)
    assert timedelta(0) < tick - after <= timedelta(hours=26)


def test_many_missed_ticks_are_one_late_run_or_none() -> None:
    noon = datetime(2026, 6, 5, 12, tzinfo=ZoneInfo("UTC"))
    hourly = schedule(cron="0 * * * *", missed_within_seconds=4 * 3600)
    assert hourly.missed_tick(noon - timedelta(days=3), noon) == noon
    assert hourly.missed_tick(noon, noon + timedelta(minutes=59)) is None
    assert schedule().missed_tick(noon - timedelta(days=3), noon) is None  # 02:30 is too long ago
    assert schedule(cron="0 * * * *", missed="skip").missed_tick(noon - timedelta(days=3), noon) is None


def test_ticks_that_come_due_during_a_run_are_one_run_after_it() -> None:
    noon = datetime(2026, 6, 5, 12, tzinfo=ZoneInfo("UTC"))
    hourly = schedule(cron="0 * * * *", missed="skip", command="materialize -t x -i a -o b", overlap="queue")
    assert hourly.newest_tick(noon, noon + timedelta(minutes=150)) == noon + timedelta(hours=2)
    assert hourly.newest_tick(noon, noon + timedelta(minutes=50)) is None


def test_a_file_is_a_schedule_and_its_command_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text(NIGHTLY)
    assert load_schedule(path).argv()[:3] == ["materialize", "-t", "image_rotation"]
    path.write_text(NIGHTLY + "overlap: queue\n")
    assert load_schedule(path).argv()[1] == "--set=run.lease_wait_seconds=43200"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cron: '61 2 * * *'", "expected five cron fields"),
        ("cron: '@daily'", "expected five cron fields"),
        ("time_zone: Europe/Berlinn", "expected a name such as Europe/Berlin"),
        ("retrys: 3", "unknown setting `retrys`. Did you mean `retries`"),
        ("command: materialise -t x", "Did you mean 'materialize'"),
        ("{command: verify x, overlap: queue}", "waits for the dataset's lease"),
        ("name: Nightly Rotation", "setting `name`: found 'Nightly Rotation'"),
    ],
)
def test_a_wrong_definition_is_refused(tmp_path: Path, change: str, message: str) -> None:
    import yaml

    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(NIGHTLY), **yaml.safe_load(change)}))
    with pytest.raises(ConfigError, match=message):
        load_schedule(path)
