"""Helpers of the tests that run `materialize` on a real Ray: photographs in a store, runs, what a version holds."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from unlabeled.jobs.config import load_settings
from unlabeled.jobs.materialize import Materialize, MaterializeReport
from unlabeled.pipeline.manifest import Manifest, load_tables, require_manifest
from unlabeled.pipeline.storage import Store, StoreOptions

from tests import samples
from tests.fault_proxy import FaultProxy

#: Small pictures and small shards: many shards of little work each.
SMALL = ("task.side_px=32", "shard.spread_min_num_bytes=4096", "shard.spread_num_shards=16", "val_fraction=0.2")
NO_TIME_LIMIT = 10_000
#: How Ray names the process of a worker; ".submit" follows while it works.
WORKER = "ray::MapWorker("


@dataclass(frozen=True)
class Place:
    """Somewhere that inputs and datasets can stand: a local folder or a bucket."""

    uri: str
    options: StoreOptions

    def store(self, name: str) -> Store:
        return Store.open(f"{self.uri}/{name}", self.options)

    def path(self, name: str) -> str:
        return f"{self.uri}/{name}"


def jpeg(seed: int, width_px: int = 56, height_px: int = 48, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples.photograph(seed, width_px, height_px)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def put_photographs(store: Store, numbers: Sequence[int]) -> None:
    """Write photographs under keys that need care; each number is one key and one content."""
    for number in numbers:
        store.put(photograph_key(number), jpeg(number))


def photograph_key(number: int) -> str:
    return f"site {number % 3}/photo+{number:03d} #1 é%20.jpg"


def run(
    place: Place,
    source: str = "in",
    output: str = "out",
    assignments: Sequence[str] = SMALL,
    tasks: Sequence[str] = ("image_rotation",),
    **options: Any,
) -> MaterializeReport:
    """Materialize on the Ray that runs already, and return the (first) report."""
    return run_many(place, source, output, assignments, tasks, **options)[0]


def run_many(
    place: Place, source: str, output: str, assignments: Sequence[str], tasks: Sequence[str], **options: Any
) -> list[MaterializeReport]:
    flags = {name: options.pop(name) for name in ("replan", "rebuild") if name in options}
    settings, of_tasks = load_settings(None, assignments, options, tasks)
    spec = Materialize(tasks, place.path(source), place.path(output), settings, of_tasks, place.options, **flags)
    return spec.run()


def manifest_of(store: Store, version: int | None = None) -> Manifest:
    return require_manifest(store, version)


def files_of(store: Store, version: int | None = None) -> dict[str, str]:
    """Return the shard files of a version: name -> sha256."""
    manifest = require_manifest(store, version)
    shards = load_tables(store, manifest, "shards").shards
    return {
        name: sha256 for name, sha256 in zip(*(shards[c].to_pylist() for c in ("file", "sha256")), strict=True) if name
    }


def rows_of(store: Store, version: int | None = None) -> pa.Table:
    """Return all rows of a version, sorted by example_id."""
    tables = [pq.read_table(io.BytesIO(store.get(name))) for name in files_of(store, version)]
    return pa.concat_tables(tables).sort_by("example_id")


def through(proxy: FaultProxy, place: Place, num_retries: int = 6) -> Place:
    """Return the place as it is seen through a proxy, by a client that soon gives up."""
    options = StoreOptions(
        endpoint_url=proxy.endpoint_url,
        access_key_id=place.options.access_key_id,
        secret_access_key=place.options.secret_access_key,
        num_retries=num_retries,
        timeout_seconds=2.0,
        retry_budget_seconds=20.0,
    )
    return Place(place.uri, options)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from unlabeled.jobs.cli import main; main()", *arguments]


def cli(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run the command line and return what it printed and its exit code."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
    )


def materialize_arguments(place: Place, source: str = "in", output: str = "out", *more: str) -> list[str]:
    sets = [part for assignment in SMALL for part in ("--set", assignment)]
    return [
        *("materialize", "--task", "image_rotation", "--input", place.path(source), "--output", place.path(output)),
        *sets,
        *more,
    ]


def num_receipts(store: Store) -> int:
    return sum(len(page) for page in store.list("_receipts"))


def kill_when(process: subprocess.Popen[Any], store: Store, num: int) -> None:
    """SIGKILL a driver as soon as `num` receipts stand."""
    deadline = time.monotonic() + 120
    while num_receipts(store) < num:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the driver ended with {process.returncode} before {num} receipts stood")
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def copy_folder(source: Path, target: Path, keys: Sequence[str]) -> None:
    """Copy files in the given order, with times of now: other etags and another order of listing."""
    for key in keys:
        path = target / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / key).read_bytes())


def family(pid: int) -> list[psutil.Process]:
    """Return all that a process has started, and what these have."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def busy_workers(driver_pid: int) -> list[psutil.Process]:
    """Return the Ray workers of the driver that have a decoder: they are at work on a shard."""
    busy = []
    for process in family(driver_pid):
        try:
            if process.name().startswith(WORKER) and process.name().endswith(".submit"):
                busy.append(process)
        except psutil.NoSuchProcess:
            continue
    return busy
