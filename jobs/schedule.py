"""One definition of a recurring run: when, what, and what if runs overlap, are missed, fail or take too long."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo

from croniter import croniter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..pipeline.config import parse
from .config import read_yaml


class Kubernetes(BaseModel):
    """What a Kubernetes object needs besides; the defaults are those of deploy/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field("unlabeled-cpu", description="image with this command line")
    address: str = Field("http://unlabeled-head-svc:8265", description="URL of the Ray dashboard")
    cluster: str = Field("unlabeled", description="name of the RayCluster, for a RayCronJob")
    token_secret: str = Field("unlabeled", description="Secret whose key auth_token is the cluster's token")
    config_map: str = Field("unlabeled-env", description="ConfigMap with the environment")


class Coming(BaseModel):
    """When a schedule is due next, in its time zone."""

    model_config = ConfigDict(frozen=True)

    name: str
    ticks: list[datetime]


class Schedule(BaseModel):
    """A recurring run: the keys of its YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$", description="of Kubernetes objects, units, logs"
    )
    cron: str = Field(description="five fields: minute, hour, day of month, month, day of week")
    time_zone: str = Field("Etc/UTC", description="of the IANA database; daylight saving is taken care of")
    command: tuple[str, ...] = Field(description="command and options, as a line or a list", min_length=1)
    overlap: Literal["refuse", "queue"] = Field("refuse", description="a tick while the last run is still at work")
    missed: Literal["skip", "once"] = Field(
        "once", description="ticks that nobody was there for: none, or one late run"
    )
    missed_within_seconds: int = Field(3600, ge=60, description="later than this a missed tick is skipped in any case")
    retries: int = Field(3, ge=0, description="tries after the first, where another one may help")
    retry_wait_seconds: float = Field(60.0, ge=0, description="before the first of them; doubles each time")
    deadline_seconds: int = Field(43_200, ge=1, description="a run, retries included, is stopped after this")
    kubernetes: Kubernetes = Kubernetes()

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.cron.split()) != 5 or not croniter.is_valid(self.cron):
            raise ValueError(f"`cron`: found {self.cron!r}, expected five cron fields such as '30 2 * * *'")
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"`time_zone`: found {self.time_zone!r}, expected a name such as Europe/Berlin") from None
        if self.overlap == "queue" and self.command[0] != "materialize":
            raise ValueError("`overlap: queue` waits for the dataset's lease, which `materialize` alone holds")
        return self

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Yield the times at which it is due, in its time zone, later than `after` (which has a time zone).

        An hour that daylight saving skips is made up for at its end; in one that it repeats, a fixed hour is due once,
        while `*` and steps of hours go on through both, as cron does.
        """
        zone = ZoneInfo(self.time_zone)
        times = croniter(self.cron, after.astimezone(zone))
        every_hour = "*" in self.cron.split()[1]
        while True:
            tick: datetime = times.get_next(datetime)
            is_repeated = tick.utcoffset() != tick.replace(fold=0).utcoffset()
            if every_hour or not is_repeated:
                yield tick

    def next(self, after: datetime) -> datetime:
        """Return the first tick later than `after`."""
        return next(self.ticks(after))

    def coming(self, number: int, after: datetime) -> Coming:
        """Return the first `number` ticks later than `after`."""
        return Coming(name=self.name, ticks=list(islice(self.ticks(after), number)))

    def missed_tick(self, last: datetime, now: datetime) -> datetime | None:
        """Return the newest tick in (last, now] that is to be run late, if any: many missed ticks are one run."""
        if self.missed == "skip":
            return None
        return self.newest_tick(max(last, now - timedelta(seconds=self.missed_within_seconds)), now)

    def newest_tick(self, after: datetime, now: datetime) -> datetime | None:
        """Return the newest tick in (after, now], if any."""
        found = None
        for tick in self.ticks(after):
            if tick > now:
                return found
            found = tick
        return found

    def argv(self) -> list[str]:
        """Return the command of a tick."""
        queued = [f"--set=run.lease_wait_seconds={self.deadline_seconds}"] if self.overlap == "queue" else []
        return [self.command[0], *queued, *self.command[1:]]


def load_schedule(path: Path) -> Schedule:
    """Return the schedule of a YAML file, its command checked like one that is typed.

    Raises:
        ConfigError: no such file, not YAML, an unknown or wrong key, or a command that would be refused.
    """
    from .command_line import parsed

    schedule: Schedule = parse(Schedule, read_yaml(path, str(path), "name, cron and command"))
    parsed(schedule.argv())
    return schedule


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)
