"""What people see: progress on stderr, tables on stdout, errors in one message that says what to do next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..pipeline.errors import ConfigError, nearest
from ..pipeline.rng import canonical_json
from .log_lines import JsonLines


def format_bytes(num_bytes: float) -> str:
    """Return a number of bytes as people read it: 1.5 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(num_bytes) < 1000 or unit == "TB":
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Several(BaseModel):
    """The reports of datasets that were made together."""

    model_config = ConfigDict(frozen=True)

    datasets: list[SerializeAsAny[BaseModel]]


def print_json(report: BaseModel) -> None:
    """Write exactly one JSON object to stdout: what the command's typed call returned."""
    sys.stdout.write(canonical_json(report.model_dump(mode="json")).decode("utf-8", "replace") + "\n")


def print_json_of_each(reports: Sequence[BaseModel]) -> None:
    """Write exactly one JSON object to stdout: of one dataset its report, of several `datasets` with a report each."""
    print_json(reports[0] if len(reports) == 1 else Several(datasets=list(reports)))


def console() -> Console:
    """Return the console for results: stdout, without colour unless it is a terminal."""
    return Console(highlight=False, soft_wrap=True)


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Print a titled block of names and values."""
    out = console()
    out.print(title, style="bold", markup=False)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        out.print(f"  {name.ljust(width)}  {value}", markup=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        # Keys and messages are literal: brackets in them are no markup.
        table.add_row(*map(Text, row))
    console().print(table)


class ShownProgress:
    """Progress on stderr: a bar on a terminal, else a line now and then; nothing when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._num_shards = self._num_done = self._num_rejected = self._num_examples = 0

    def phase(self, text: str) -> None:
        """Say what begins now."""
        self._stop()
        self._console.print(f"{text} ...", style="dim")

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        """Say how much there is to do, and begin the bar."""
        self._num_shards, self._num_done = num_shards, num_done
        self._num_rejected = self._num_examples = 0
        done = f", {num_done} of them done already" if num_done else ""
        self._console.print(f"{num_sources:,} sources in {num_shards} shards{done}", style="dim")
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                TextColumn("shards"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=num_shards, completed=num_done)
            self._bar.start()

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """Advance."""
        self._num_done += 1
        self._num_rejected += row["num_rejected"]
        self._num_examples += row["num_rows"]
        text = f"{self._num_examples:,} examples, {self._num_rejected} rejects"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=text)
        elif self._num_done == self._num_shards or self._num_done % max(1, self._num_shards // 10) == 0:
            self._console.print(f"{self._num_done} of {self._num_shards} shards: {text}", style="dim")

    def close(self) -> None:
        """Remove the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def shown_progress(log: str) -> ShownProgress | JsonLines:
    """Return the progress that `--log` asks for: `text` for people, `json` for machines.

    Raises:
        ConfigError: it asks for something else.
    """
    if log not in ("text", "json"):
        raise ConfigError(f"`--log {log}`: expected text or json.{nearest(log, ('text', 'json'))}")
    return JsonLines() if log == "json" else ShownProgress()


def program_name() -> str:
    """Return how this user can call the command line: by name where it is on the PATH, else as it was called."""
    return "unlabeled" if shutil.which("unlabeled") else sys.argv[0]
