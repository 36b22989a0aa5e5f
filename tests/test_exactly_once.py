"""The same bytes whatever happens: 1, 2 or 4 CPUs, killed workers, a killed driver, new objects in between."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from unlabeled.pipeline.manifest import versions
from unlabeled.pipeline.storage import Store, StoreOptions

from tests.conftest import Bucket
from tests.runs import (
    WORKER,
    Place,
    busy_workers,
    cli,
    command,
    files_of,
    kill_when,
    manifest_of,
    materialize_arguments,
    num_receipts,
    put_photographs,
    rows_of,
)

NUM_PHOTOGRAPHS = 240
NUM_ROUNDS = 5


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.slow), pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Photographs in `in`, and what an undisturbed run makes of them in `calm`."""
    if request.param == "local":
        made = Place(str(tmp_path), StoreOptions())
    else:
        bucket: Bucket = request.getfixturevalue("s3")
        made = Place(bucket.uri, bucket.options)
    put_photographs(made.store("in"), range(NUM_PHOTOGRAPHS))
    _materialize(made, "calm", "2")
    return made


def _materialize(place: Place, output: str, num_cpus: str) -> None:
    done = cli(*materialize_arguments(place, "in", output, "--num-cpus", num_cpus))
    assert done.returncode == 0, done.stderr


def _start(place: Place, output: str) -> subprocess.Popen[bytes]:
    arguments = materialize_arguments(place, "in", output, "--num-cpus", "2")
    return subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_1_and_4_cpus_give_the_bytes_of_2(place: Place) -> None:
    for num_cpus in ("1", "4"):
        _materialize(place, f"cpus-{num_cpus}", num_cpus)
        assert files_of(place.store(f"cpus-{num_cpus}")) == files_of(place.store("calm"))
        assert manifest_of(place.store(f"cpus-{num_cpus}")).fingerprint == manifest_of(place.store("calm")).fingerprint


def test_a_killed_driver_resumes_and_does_only_what_was_missing(place: Place) -> None:
    store = place.store("out")
    total = num_receipts(place.store("calm"))
    kill_when(_start(place, "out"), store, total // 2)
    assert versions(store) == []
    put_photographs(place.store("in"), [1000, 1001])
    _wait_for_quiet(store)
    done_before = num_receipts(store)
    again = cli(*materialize_arguments(place, "in", "out", "--num-cpus", "2", "--json"))
    assert again.returncode == 0, again.stderr
    # First the plan of the killed run, then what has come since.
    assert versions(store) == [1, 2]
    assert files_of(store, 1) == files_of(place.store("calm"))
    assert f"{done_before} of them done already" in again.stderr
    assert rows_of(store).num_rows == 4 * (NUM_PHOTOGRAPHS + 2)


def test_workers_killed_again_and_again_lose_and_double_nothing(place: Place) -> None:
    """Each time that work on a shard begins: one shard's worker dies three times and more. No source is to blame."""
    driver = _start(place, "out")
    num_killed = _kill_workers(driver, place.store("out"))
    assert driver.wait(timeout=240) == 0
    assert num_killed >= NUM_ROUNDS
    assert manifest_of(place.store("out")).counts.num_rejected == 0
    assert files_of(place.store("out")) == files_of(place.store("calm"))


def test_a_run_told_to_stop_exits_75_and_resumes(place: Place) -> None:
    driver = _start(place, "out")
    deadline = time.monotonic() + 120
    while num_receipts(place.store("out")) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) == 75
    _materialize(place, "out", "2")
    assert files_of(place.store("out")) == files_of(place.store("calm"))


def _kill_workers(driver: subprocess.Popen[bytes], store: Store) -> int:
    """SIGKILL the workers of the driver as they begin on a shard, in NUM_ROUNDS rounds; return how many died."""
    seen: set[str] = set()
    num_killed = num_rounds = 0
    while driver.poll() is None and num_rounds < NUM_ROUNDS:
        time.sleep(0.01)  # the whole work is a few seconds: whoever looks seldom finds nobody at it
        begun = {info.key for page in store.list("_attempts") for info in page}
        workers = busy_workers(driver.pid) if begun - seen else []
        for worker in workers:
            worker.kill()
        seen |= begun if workers else set()
        num_killed += len(workers)
        num_rounds += bool(workers)
    return num_killed


def _wait_for_quiet(store: object) -> None:
    """Wait until the orphans of a killed driver have ended: Ray's raylet ends them when it sees the driver gone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not [p for p in psutil.process_iter(["name"]) if (p.info["name"] or "").startswith(WORKER)]:
            return
        time.sleep(0.3)
    raise AssertionError(f"workers of a killed driver still run on {os.uname().nodename}")
