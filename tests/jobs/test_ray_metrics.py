"""What a run counts comes out at Ray's own metrics endpoint."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from unlabeled.jobs.ray_metrics import MeteredProgress

ROW = {"num_rows": 12, "num_sources": 4, "num_rejected": 1, "num_bytes_in": 100, "num_bytes": 50, "cpu_seconds": 0.5}


class Heard:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def phase(self, text: str) -> None:
        self.told.append(text)

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        self.told.append((num_shards, num_done, num_sources))

    def shard_done(self, row: Any) -> None:
        self.told.append(row["target"])


@pytest.fixture
def metrics_url() -> Iterator[str]:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    (node,) = ray.nodes()
    yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    ray.shutdown()


def _exported(url: str, wanted: str) -> dict[str, float]:
    """Return name{labels that are ours} -> value of all our metrics, once `wanted` is among them."""
    for _ in range(60):
        with urllib.request.urlopen(url) as reply:  # noqa: S310 - http, on this machine
            lines = reply.read().decode().splitlines()
        found = {}
        for line in lines:
            match = re.match(r"ray_(unlabeled_\w+)\{(.*)\} (\S+)$", line)
            if match:
                ours = sorted(re.findall(r'(?:dataset|task)="[^"]*"', match[2]))
                found[f"{match[1]}{{{','.join(ours)}}}"] = float(match[3])
        if wanted in found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{wanted} was not exported")


def test_a_run_is_told_and_counted(metrics_url: str) -> None:
    heard = Heard()
    progress = MeteredProgress(heard, [{"dataset": "a", "task": "t"}, {"dataset": "b", "task": "u"}])
    progress.phase("listing")
    progress.planned(5, 2, 99)
    progress.connected()
    progress.shard_done({**ROW, "target": 0})
    progress.shard_done({**ROW, "target": 1, "num_rejected": 0})
    assert heard.told == ["listing", (5, 2, 99), 0, 1]
    exported = _exported(metrics_url, 'unlabeled_materialize_examples_total{dataset="b",task="u"}')
    assert exported['unlabeled_materialize_examples_total{dataset="a",task="t"}'] == 12
    assert exported['unlabeled_materialize_rejects_total{dataset="a",task="t"}'] == 1
    assert 'unlabeled_materialize_rejects_total{dataset="b",task="u"}' not in exported
    assert exported["unlabeled_materialize_shards_remaining{}"] == 1
    assert exported["unlabeled_materialize_oldest_unfinished_shard_timestamp_seconds{}"] > 1e9
