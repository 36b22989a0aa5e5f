"""Everything at once, in an order that a seed decides: kills, faults of the store, a skewed clock, a growing bucket.

UNLABELED_CHAOS_SECONDS says how long (`make chaos`: ten minutes), UNLABELED_CHAOS_SEED where it begins.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
import pytest
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.manifest import require_manifest, versions
from unlabeled.pipeline.rng import sha256_hex
from unlabeled.pipeline.storage import Store

from tests.conftest import Bucket
from tests.fault_proxy import FaultProxy, Kind, Rule, fault_proxy
from tests.runs import (
    Place,
    busy_workers,
    cli,
    command,
    family,
    files_of,
    jpeg,
    manifest_of,
    materialize_arguments,
    photograph_key,
    put_photographs,
    rows_of,
)

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

SECONDS = float(os.environ.get("UNLABELED_CHAOS_SECONDS") or 600)
SEED = int(os.environ.get("UNLABELED_CHAOS_SEED") or 0)
#: What a run may end with: done, the store failed for too long, another one is at work, stopped, killed; told to stop
#: before it could listen.
ALLOWED = {0, 1, 4, 75, -signal.SIGKILL, -signal.SIGTERM}
MAX_DISTURBED_RUNS = 3
KINDS: tuple[Kind, ...] = ("500", "slow_down", "reset", "truncate", "flip", "conflict", "lost_reply", "hang")
#: Python's clock, 20 minutes ahead; that of the S3 client, which signs, is the machine's: S3 refuses a skewed one.
_SKEW = """
import time
_true, _true_ns = time.time, time.time_ns
def ahead(): return _true() + 1200
def ahead_ns(): return _true_ns() + 1200 * 10**9
time.time, time.time_ns = ahead, ahead_ns
"""


class Readers:
    """Reads the dataset again and again: every version must be whole, and what it was the first time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[int, str] = {}
        self.num_reads = 0
        self.fault: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)

    def _read(self) -> None:
        try:
            while not self._stop.wait(0.5):
                numbers = versions(self._store)
                assert numbers == list(range(1, len(numbers) + 1))
                for number in numbers[-2:]:
                    self._look_at(number)
                    self.num_reads += 1
        except BaseException as fault:  # noqa: BLE001 - told by the test
            self.fault = fault

    def _look_at(self, number: int) -> None:
        manifest = require_manifest(self._store, number)
        assert self._seen.setdefault(number, manifest.writer_token) == manifest.writer_token
        for name, sha256 in files_of(self._store, number).items():
            assert sha256_hex(self._store.get(name)) == sha256, name
        rows = rows_of(self._store, number)
        assert rows.num_rows == manifest.counts.num_examples
        assert len(set(rows["example_id"].to_pylist())) == rows.num_rows


class Chaos:
    """One dataset, `out`, made from `in` against all odds, and `calm`, made from the same without any."""

    def __init__(self, place: Place, proxy: FaultProxy, skew: Path) -> None:
        self.place = place
        self.counts: Counter[str] = Counter()
        self._proxy = proxy
        self._skew = skew
        self._draws = random.Random(SEED)
        self._num_photographs = 0

    def grow(self) -> None:
        """Let the bucket change: some photographs are new, one is another."""
        more = self._draws.randint(4, 12)
        put_photographs(self.place.store("in"), range(self._num_photographs, self._num_photographs + more))
        if self._num_photographs:
            victim = self._draws.randrange(self._num_photographs)
            self.place.store("in").put(photograph_key(victim), jpeg(10_000 + self.counts["increments"]))
        self._num_photographs += more
        self.counts["increments"] += 1

    def increment(self) -> None:
        """Run until the version stands: some runs meet the worst, the last one only what passes."""
        for _ in range(self._draws.randint(1, MAX_DISTURBED_RUNS)):
            self._disturbed_run()
        self._proxy.rules[:] = []
        # A run that was killed may still have workers; a frozen one has been let go and finds itself replaced.
        self._run_whole(*self._arguments(), "--set", "run.lease_wait_seconds=120", env=self._env())
        self._run_whole(*materialize_arguments(self.place, "in", "calm", "--num-cpus", "2"))
        # Versions that nobody disturbed are made of the same plans: not a byte differs.
        assert files_of(self.place.store("out")) == files_of(self.place.store("calm"))

    def _run_whole(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        done = cli(*arguments, env=env, timeout=600)
        assert done.returncode == 0, done.stderr

    def _disturbed_run(self) -> None:
        self._proxy.rules[:] = [self._burst() for _ in range(self._draws.randint(0, 2))]
        drivers = [self._start(*self._arguments()) for _ in range(self._draws.choice([1, 1, 2]))]
        if versions(self.place.store("out")) and self._draws.random() < 0.3:
            drivers.append(self._start("gc", self.place.path("out"), "--delete", "--min-age-days", str(60 / 86400)))
        events = (self._kill_driver, self._kill_workers, self._kill_ray, self._terminate, self._hold_and_kill)
        self._draws.choice([*events, self._freeze])(drivers[0])
        for driver in drivers:
            code = driver.wait(timeout=600)
            self.counts[f"exit {code}"] += 1
            assert code in ALLOWED
        for rule in self._proxy.rules:
            self.counts["store faults"] += rule.num_injected

    def _burst(self) -> Rule:
        kind: Kind = self._draws.choice(KINDS)
        method = {"truncate": "GET", "flip": "GET", "conflict": "PUT", "lost_reply": "PUT"}.get(kind, "GET|PUT")
        times, every = self._draws.randint(2, 8), self._draws.randint(4, 9)
        # A conflict, and a reply that may be lost, belong to writes that are conditional.
        path = "out/_(manifests|receipts|plans|tables)/" if kind in ("conflict", "lost_reply") else ""
        # A listing has no checksum.
        path = "^[^?]+$" if kind == "flip" else path
        return Rule(kind, method=method, path=path, times=times, every=every, hang_seconds=3.0)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.counts[f"{arguments[0]} started"] += 1
        return subprocess.Popen(
            command(*arguments),
            env={**os.environ, **self._env()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _arguments(self) -> list[str]:
        return materialize_arguments(self.place, "in", "out", "--num-cpus", "2")

    def _env(self) -> dict[str, str]:
        env = {"AWS_ENDPOINT_URL": self._proxy.endpoint_url}
        if self._draws.random() < 0.5:
            self.counts["skewed clocks"] += 1
            env["PYTHONPATH"] = str(self._skew)
        return env

    def _kill_driver(self, driver: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(self._draws.uniform(2, 25))
        self.counts["drivers killed"] += driver.poll() is None
        driver.kill()

    def _terminate(self, driver: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(self._draws.uniform(5, 25))
        self.counts["drivers told to stop"] += driver.poll() is None
        driver.terminate()

    def _kill_workers(self, driver: subprocess.Popen[bytes]) -> None:
        left = self._draws.randint(1, 3)
        while driver.poll() is None and left:
            time.sleep(0.01)
            for worker in busy_workers(driver.pid)[:left]:
                worker.kill()
                self.counts["workers killed"] += 1
                left -= 1

    def _kill_ray(self, driver: subprocess.Popen[bytes]) -> None:
        """Kill the raylet, or the head's server, under a driver that lives on."""
        victim = self._draws.choice(["raylet", "gcs_server"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(self._draws.uniform(4, 15))
        for process in family(driver.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == victim:
                    process.kill()
                    self.counts[f"{victim} killed"] += 1

    def _freeze(self, driver: subprocess.Popen[bytes]) -> None:
        """Let the driver stand still so long that another run takes over; then let it go on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(self._draws.uniform(4, 12))
        if driver.poll() is not None:
            return
        driver.send_signal(signal.SIGSTOP)
        self.counts["drivers frozen"] += 1
        another = self._start(*self._arguments(), "--set", "run.lease_wait_seconds=120")
        code = another.wait(timeout=600)
        assert code in ALLOWED
        self.counts["runs that took over"] += code == 0
        driver.send_signal(signal.SIGCONT)

    def _hold_and_kill(self, driver: subprocess.Popen[bytes]) -> None:
        """Kill the driver while a request of one kind waits."""
        folder = self._draws.choice(["_plans", "data", "_receipts", "_tables", "_manifests"])
        hold = Rule("hold", method="PUT", path=f"out/{folder}/")
        self._proxy.rules.insert(0, hold)
        while driver.poll() is None and not hold.arrived.wait(0.2):
            pass
        self.counts[f"drivers killed at {folder}"] += driver.poll() is None
        driver.kill()
        hold.released.set()


@pytest.fixture
def chaos(s3: Bucket, tmp_path: Path) -> Iterator[Chaos]:
    (tmp_path / "skew").mkdir()
    (tmp_path / "skew" / "sitecustomize.py").write_text(_SKEW)
    with fault_proxy(s3.endpoint_url) as proxy:
        yield Chaos(Place(s3.uri, s3.options), proxy, tmp_path / "skew")


def test_everything_at_once(chaos: Chaos) -> None:
    place, deadline = chaos.place, time.monotonic() + SECONDS
    with Readers(place.store("out")) as readers:
        while time.monotonic() < deadline or chaos.counts["increments"] < 2:
            chaos.grow()
            chaos.increment()
            assert readers.fault is None, readers.fault
    counts = {**chaos.counts, "versions": len(versions(place.store("out"))), "reads": readers.num_reads}
    print(f"\nseed {SEED}, {SECONDS:.0f} s: {counts}")
    clean = cli(*materialize_arguments(place, "in", "clean", "--num-cpus", "2"))
    assert clean.returncode == 0, clean.stderr
    assert manifest_of(place.store("out")).counts.num_rejected == 0
    assert rows_of(place.store("out")).equals(rows_of(place.store("clean")))
    report = verify_dataset(place.path("out"), rederive_fraction=1.0, store_options=place.options)
    assert (report.problems, report.changed_sources) == ([], [])
    assert report.num_rederived_rows == report.num_rows
