"""How long a run takes to start, and to find nothing new, over very many keys.

    python -m tests.bench.bench_scale start [--keys 1000000]       listed, planned, first shard begun
    python -m tests.bench.bench_scale unchanged [--keys 1000000]   a second run, after all shards were made

The keys are not there (simulated_s3.py), or with `--store seaweedfs` they are: small pictures, put before the clock
starts. Prints one JSON object: seconds, CPU seconds and peak memory of the driver, by phase, and the bytes of the plan
and of the tables. `unchanged` makes no example: every shard's receipt is written as a worker would write it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from unlabeled.jobs.config import Settings
from unlabeled.jobs.materialize import Materialize
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.inventory import Inventory
from unlabeled.pipeline.ledger import Outcome, Receipt, write_receipt
from unlabeled.pipeline.materialize import Request, materialize
from unlabeled.pipeline.plan_store import read_parts
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.work import WorkUnit

from tests.bench.simulated_s3 import KEYS_PER_FOLDER, PICTURE
from tests.seaweed import start_seaweed

BUCKET = "bucket"


class Begun(Exception):
    """The first shard would begin now."""


class Phases:
    """Progress that notes when each phase begins."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def phase(self, text: str) -> None:
        self.times[text] = time.monotonic()

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        self.times[f"{num_shards} shards of {num_sources} sources are planned"] = time.monotonic()

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """Nothing to note."""


@contextlib.contextmanager
def simulated_s3(num_keys: int) -> Iterator[StoreOptions]:
    """Serve a bucket of `num_keys` keys and yield how to reach it."""
    command = [sys.executable, "-m", "tests.bench.simulated_s3", str(num_keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            secret = "b"  # noqa: S105 - nobody checks it
            yield StoreOptions(f"http://127.0.0.1:{port}", access_key_id="a", secret_access_key=secret)
        finally:
            server.kill()


@contextlib.contextmanager
def seaweedfs(num_keys: int) -> Iterator[StoreOptions]:
    """Serve a bucket of `num_keys` small pictures from SeaweedFS and yield how to reach it."""
    with tempfile.TemporaryDirectory(prefix="weed-") as folder:
        server = start_seaweed(Path(folder))
        try:
            server.client().create_bucket(Bucket=BUCKET)
            options = StoreOptions(
                server.endpoint_url, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
            )
            store = Store.open(f"s3://{BUCKET}", options)
            keys = (f"part-{number // KEYS_PER_FOLDER:04d}/{number:06d}.jpg" for number in range(num_keys))
            with ThreadPoolExecutor(16) as pool:
                for _ in pool.map(lambda key: store.put(key, PICTURE), keys):
                    pass
            yield options
        finally:
            server.kill()


class AnonymousMemory:
    """The most memory that the process holds of its own, without what it has mapped of files; a context manager."""

    def __init__(self) -> None:
        self.peak_mb = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.peak_mb = max(self.peak_mb, int(line.split()[1]) // 1024)


_STORES = {"simulated": simulated_s3, "seaweedfs": seaweedfs}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "unchanged"))
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--shard-bytes", type=int, default=ShardSettings().target_num_bytes)
    parser.add_argument("--store", choices=(*_STORES,), default="simulated")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _STORES[arguments.store](arguments.keys) as options:
        settings = Settings(shard=ShardSettings(target_num_bytes=arguments.shard_bytes))
        found = _run(Path(folder), options, settings, stop=arguments.what == "start")
        if arguments.what == "unchanged":
            found = {"first": found, "second": _run(Path(folder), options, settings, stop=False)}
    print(json.dumps(found, indent=1))


def _run(folder: Path, options: StoreOptions, settings: Settings, *, stop: bool) -> dict[str, Any]:
    spec = Materialize(["image_rotation"], f"s3://{BUCKET}", str(folder / "out"), settings, store_options=options)
    phases, memory = Phases(), AnonymousMemory()
    begun, cpu = time.monotonic(), time.process_time()
    outputs = spec.outputs()
    listed: list[Inventory] = []

    def take_inventory() -> Inventory:
        listed.append(spec.inventory(None))
        return listed[-1]

    def execute(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        phases.phase(f"{len(units)} units of work are handed out")
        if stop:
            raise Begun
        return (
            _made(targets[job.target], job.shard, read_parts(targets[job.target].store, job.chunk, job.shard_index))
            for unit in units
            for job in unit.jobs
        )

    request = Request(outputs, f"s3://{BUCKET}", take_inventory, lambda _: {}, lambda *_: {}, spec.settings.run)
    with contextlib.suppress(Begun), memory:
        materialize(request, execute, phases)
    phases.phase("end")
    times = [*phases.times.items()]
    return {
        "num_sources": listed[0].sources.num_rows,
        "seconds_to": {name: round(at - begun, 1) for name, at in times},
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_anonymous_mb": memory.peak_mb,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "plan_mb": _size_mb(folder / "out" / "_plans"),
        "tables_mb": _size_mb(folder / "out" / "_tables"),
        "receipts_mb": _size_mb(folder / "out" / "_receipts"),
    }


def _size_mb(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def _made(target: Target, shard: Mapping[str, Any], parts: Any) -> dict[str, Any]:
    """Write the receipt of a shard that was never made, and return its row."""
    outcomes = tuple(
        Outcome(
            row["source_key"], "used", sha256="0" * 64, num_bytes=row["num_bytes"], etag=row["etag"], num_examples=4
        )
        for row in parts.to_pylist()
    )
    key = f"data/{shard['shard_id']}.parquet"
    target.store.put(key, b"x")
    receipt = Receipt(
        shard_id=shard["shard_id"],
        split=shard["split"],
        file=key,
        sha256=shard["shard_id"],
        num_bytes=1,
        num_rows=4 * len(outcomes),
        footer_sha256="",
        footer_num_bytes=0,
        row_groups=(),
        outcomes=outcomes,
        versions={},
    )
    write_receipt(target.store, receipt)
    return {
        "target": 0,
        "num_bytes_in": 0,
        "cpu_seconds": 0.0,
        "cpu_stages": {},
        "peak_rss_bytes": 0,
        "shard_id": receipt.shard_id,
    }


if __name__ == "__main__":
    main()
