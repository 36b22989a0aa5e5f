"""What a run shows to Prometheus, through Ray's metrics: counts by dataset and task, bounded whatever the input.

Ray exports each as `ray_<name>` (counters as `ray_<name>_total`) on every node's metrics port. Run ids, keys and shard
ids stand in logs and receipts: as labels they would make a new series for each run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge

from ..pipeline.audit.report import AuditReport
from ..pipeline.materialize import Progress
from ..pipeline.storage import last_name

_LABELS = ("dataset", "task")
#: Column of a finished shard's row -> (metric, what it counts).
_COUNTERS = {
    "num_rows": ("unlabeled_materialize_examples", "Examples written."),
    "num_sources": ("unlabeled_materialize_sources", "Sources that were read: used, filtered and rejected."),
    "num_rejected": ("unlabeled_materialize_rejects", "Sources that were rejected."),
    "num_bytes_in": ("unlabeled_materialize_bytes_in", "Bytes of sources that were read."),
    "num_bytes": ("unlabeled_materialize_bytes_out", "Bytes of shard files that were written."),
    "cpu_seconds": ("unlabeled_materialize_cpu_seconds", "CPU seconds of workers and their decoders."),
}


class MeteredProgress:
    """Tells another progress what it is told, and Ray's metrics as well once Ray runs."""

    def __init__(self, inner: Progress, datasets: Sequence[Mapping[str, str]]) -> None:
        """Meter runs of `datasets`: one mapping of labels (dataset, task) a target, in the order of targets."""
        self._inner = inner
        self._datasets = datasets
        self._remaining = 0
        self._since = 0.0
        self._shards: Counter | None = None

    def phase(self, text: str) -> None:
        """Say what begins now."""
        self._inner.phase(text)

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        """Say how much there is to do."""
        self._inner.planned(num_shards, num_done, num_sources)
        self._remaining = num_shards - num_done
        self._since = time.time()
        if self._shards is not None:
            self._set_gauges()

    def connected(self) -> None:
        """Make the metrics: Ray runs now."""
        self._shards = Counter("unlabeled_materialize_shards", "Shards that have their receipt.", _LABELS)
        self._counters = {column: Counter(name, doc, _LABELS) for column, (name, doc) in _COUNTERS.items()}
        self._gauge_remaining = Gauge("unlabeled_materialize_shards_remaining", "Planned shards without a receipt.")
        self._gauge_since = Gauge(
            "unlabeled_materialize_oldest_unfinished_shard_timestamp_seconds",
            "Since when the oldest shard without a receipt has been in work (its plan was begun), Unix time; 0: none.",
        )
        self._gauge_last = Gauge(
            "unlabeled_materialize_last_shard_timestamp_seconds", "When the last shard got its receipt, Unix time."
        )
        self._set_gauges()

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """One shard has its receipt."""
        self._inner.shard_done(row)
        self._remaining -= 1
        if self._shards is None:
            return
        labels = dict(self._datasets[row["target"]])
        self._shards.inc(1, labels)
        for column, counter in self._counters.items():
            if row[column] > 0:  # Ray refuses an increase by nothing
                counter.inc(row[column], labels)
        self._gauge_last.set(time.time())
        self._set_gauges()

    def _set_gauges(self) -> None:
        self._gauge_remaining.set(self._remaining)
        self._gauge_since.set(self._since if self._remaining > 0 else 0)


def show_leakage(report: AuditReport) -> None:
    """Show an audit's scores of artefacts, the highest of a family where it tells several labels. Ray must run."""
    gauge = Gauge(
        "unlabeled_audit_leakage",
        "How well a family of artefacts tells the label in the last audit: 0 as chance, 1 always right.",
        (*_LABELS, "family"),
    )
    labels = {"dataset": last_name(report.dataset), "task": report.task}
    for one in sorted(report.families, key=lambda one: one.score):
        if one.verdict != "semantic":
            gauge.set(one.score, {**labels, "family": one.family})
