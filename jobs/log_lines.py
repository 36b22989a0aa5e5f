"""Progress as JSON lines on stderr, for machines that collect logs: each with time, run id and shard id (if any)."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from ..pipeline.rng import canonical_json


def run_id() -> str:
    """Return what to know this run by: the id under which Ray's job API started it, else 16 random hex digits."""
    return os.environ.get("RAY_JOB_SUBMISSION_ID") or os.environ.get("UNLABELED_RUN_ID") or uuid.uuid4().hex[:16]


class JsonLines:
    """Progress that writes one JSON object a line: `time` (UTC), `run_id`, `event` and what belongs to it."""

    def __init__(self, stream: TextIO | None = None, run: str | None = None) -> None:
        """Write to `stream` (default stderr) as `run` (default `run_id()`)."""
        self._stream = stream or sys.stderr
        self._run = run or run_id()

    def phase(self, text: str) -> None:
        """Write what begins now."""
        self._write("phase", {"text": text})

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        """Write how much there is to do."""
        self._write("planned", {"num_shards": num_shards, "num_done": num_done, "num_sources": num_sources})

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """Write what one shard held."""
        names = ("shard_id", "num_rows", "num_bytes", "num_sources", "num_rejected", "num_bytes_in", "cpu_seconds")
        self._write("shard_done", {name: row[name] for name in names})

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = canonical_json({"time": now, "run_id": self._run, "event": event, **values})
        self._stream.write(line.decode("utf-8", "replace") + "\n")
        self._stream.flush()
