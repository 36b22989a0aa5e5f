"""A training that loses workers, its driver or half a checkpoint: losses and weights are those of a calm run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.checkpoint import Checkpoints

from tests.conftest import Bucket
from tests.fault_proxy import Rule, fault_proxy
from tests.loading import turns
from tests.runs import cli, command
from tests.training_cli import last_step, losses, pretrain_arguments

pytestmark = pytest.mark.chaos

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WEIGHTS = "encoder/model.safetensors"
PATIENCE_SECONDS = 300.0
NUM_STEPS = 60
#: Before the first checkpoint and after; what the driver says is up to a second old.
STEPS_TO_KILL_AT = (2, 20, 40)


@dataclass(frozen=True)
class Calm:
    """What an undisturbed run came to. data: the dataset's location."""

    data: str
    losses: dict[int, str]
    weights: bytes


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    data = turns(folder).uri
    done = cli(*pretrain_arguments(data, str(folder / "run")), env=ONE_THREAD, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    found = losses(done.stderr)
    assert len(found) == max(found) == NUM_STEPS
    return Calm(data, found, Store.open(folder / "run").get(WEIGHTS))


class Driver:
    """The command in a process of its own, its log in a file."""

    def __init__(self, calm: Calm, output: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command(*pretrain_arguments(calm.data, output)),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **ONE_THREAD, **(env or {})},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.log}"
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        found = []
        for each in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "RayTrainWorker" in " ".join(each.cmdline()):
                    found.append(each)
        return found


@pytest.fixture
def start(calm: Calm, tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Return what starts a driver; what is left of it is killed afterwards."""
    drivers: list[Driver] = []

    def started(output: str, env: Mapping[str, str] | None = None) -> Driver:
        drivers.append(Driver(calm, output, tmp_path / f"log-{len(drivers)}", env))
        return drivers[-1]

    yield started
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


def test_workers_killed_at_three_points(calm: Calm, start: Callable[..., Driver], tmp_path: Path) -> None:
    driver = start(str(tmp_path / "run"))
    for step in STEPS_TO_KILL_AT:
        driver.wait_until(lambda step=step: last_step(driver.log) >= step and driver.workers(), f"step {step}")  # type: ignore[misc]
        driver.workers()[-1].kill()
    assert driver.process.wait(PATIENCE_SECONDS) == 0, driver.log
    assert losses(driver.log) == calm.losses
    assert Store.open(tmp_path / "run").get(WEIGHTS) == calm.weights


def test_a_driver_told_to_stop_exits_75_and_is_resumed(
    calm: Calm, start: Callable[..., Driver], tmp_path: Path
) -> None:
    run = Store.open(tmp_path / "run")
    first = start(run.uri)
    first.wait_until(lambda: last_step(first.log) >= 7, "step 7")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(PATIENCE_SECONDS) == 75, first.log
    newest = Checkpoints(run).newest()
    assert newest is not None
    second = start(run.uri)
    assert second.process.wait(PATIENCE_SECONDS) == 0, second.log
    assert min(losses(second.log)) == newest.step + 1
    assert losses(first.log + second.log) == calm.losses
    assert run.get(WEIGHTS) == calm.weights


@pytest.mark.s3
@pytest.mark.parametrize("half", ["state", "commit"])
def test_a_driver_killed_with_half_a_checkpoint_written_is_resumed(
    calm: Calm, start: Callable[..., Driver], s3: Bucket, half: str
) -> None:
    """The second checkpoint's state, or its commit, is held on its way to the store; Ray ends the orphaned workers."""
    run = Store.open(f"{s3.uri}/run", s3.options)
    path = {"state": r"checkpoints/step-00000010-.*pt", "commit": r"checkpoints/step-00000010\.json"}[half]
    rule = Rule("hold", method="PUT|POST", path=path, times=-1)
    with fault_proxy(s3.server.endpoint_url, rule) as proxy:
        first = start(run.uri, {**s3.server.env, "AWS_ENDPOINT_URL": proxy.endpoint_url})
        first.wait_until(rule.arrived.is_set, "the second checkpoint")
        orphans = first.workers()
        first.process.kill()
        _, alive = psutil.wait_procs(orphans, PATIENCE_SECONDS)
        assert not alive
    newest = Checkpoints(run).newest()
    assert newest is not None
    assert newest.step == 5
    second = start(run.uri, s3.server.env)
    assert second.process.wait(PATIENCE_SECONDS) == 0, second.log
    assert set(losses(second.log)) == set(range(6, NUM_STEPS + 1))
    assert losses(first.log + second.log).items() <= calm.losses.items()
    assert run.get(WEIGHTS) == calm.weights
