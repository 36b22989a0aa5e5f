"""`unlabeled pretrain`: on a real Ray with Ray Train, in one process, stopped, killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from unlabeled.jobs.pretrain import Pretrain, Remaining
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.checkpoint import Checkpoints
from unlabeled.trainers.loop import Report

from tests.loading import turns
from tests.training import losses, settings

STEPS = ["--batch-size", "16", "--set", "compute.precision=float32", "--set", "run.log_steps=1"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    """As in tests/trainers: threads of small nets that wait for each other lose much."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


def command(dataset: Store, output: Path, *options: str) -> list[str]:
    code = "from unlabeled.jobs.cli import main; main()"
    return [sys.executable, "-c", code, "pretrain", "-d", dataset.uri, "-o", str(output), *STEPS, *options]


def run(dataset: Store, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = command(dataset, output, *options)
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)


def test_the_command_reports_progress_and_one_json_object_and_rerun_is_a_no_op(dataset: Store, tmp_path: Path) -> None:
    options = ("--num-workers", "0", "--epochs", "1", "--json")
    first, second = (run(dataset, tmp_path / "run", *options) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "epoch 1.00 of 1, step 5 of 5, loss" in first.stderr
    report: dict[str, Any] = json.loads(first.stdout)
    assert (report["num_steps"], report["encoder"]) == (5, "resnet-small")
    assert json.loads(second.stdout) == report
    assert "step" not in second.stderr


def test_a_wrong_setting_exits_2_with_the_nearest(dataset: Store, tmp_path: Path) -> None:
    done = run(dataset, tmp_path, "--set", "optimizer.nam=sgd")
    assert done.returncode == 2
    assert "Did you mean `optimizer.name`" in done.stderr


@pytest.mark.slow
def test_too_few_cpus_are_a_wrong_setting_or_are_waited_for(dataset: Store, tmp_path: Path) -> None:
    too_many = ("--num-workers", "2", "--num-cpus", "1", "--set", "run.cpus_per_worker=1")
    done = run(dataset, tmp_path, *too_many)
    assert (done.returncode, "do not fit on machines" in done.stderr) == (2, True), done.stderr
    done = run(dataset, tmp_path, *too_many, "--set", "run.start_seconds=1")
    assert (done.returncode, "no room for 2 workers of 1 CPU each" in done.stderr) == (1, True), done.stderr


def wait_for_commit(process: subprocess.Popen[str], output: Path, seconds: float = 120) -> int:
    """Return the step of the first commit."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        newest = Checkpoints(Store.open(output)).newest() if output.exists() else None
        if newest is not None:
            return newest.step
        time.sleep(0.05)
    raise AssertionError("no checkpoint came")


def started(dataset: Store, output: Path, options: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = command(dataset, output, *options)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def shown_losses(stderr: str) -> list[str]:
    return [line.split("loss ")[1].split(",")[0] for line in stderr.splitlines() if "step" in line and "loss " in line]


@pytest.mark.chaos
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_stopped_or_killed_it_goes_on_with_the_same_losses(
    dataset: Store, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    options = ["--num-workers", "0", "--epochs", "12", "--set", "run.checkpoint_steps=4"]
    process = started(dataset, tmp_path / "run", options)
    wait_for_commit(process, tmp_path / "run")
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr
    newest = Checkpoints(Store.open(tmp_path / "run")).newest()
    assert newest is not None
    rest = run(dataset, tmp_path / "run", *options)
    assert rest.returncode == 0, rest.stderr
    whole = run(dataset, tmp_path / "whole", *options)
    assert shown_losses(rest.stderr) == shown_losses(whole.stderr)[newest.step :]
    if number == signal.SIGTERM:
        assert shown_losses(stderr) == shown_losses(whole.stderr)[: newest.step]


@pytest.mark.slow
def test_on_ray_train_the_losses_are_those_of_one_process(dataset: Store, tmp_path: Path) -> None:
    alone: list[Report] = []
    Pretrain(dataset.uri, str(tmp_path / "alone"), settings()).run(alone.append)
    reports: list[Report] = []
    with started_ray(RunSettings(num_cpus=2)):
        changes = {"run.num_workers": 1, "run.cpus_per_worker": 1}
        result = Pretrain(dataset.uri, str(tmp_path / "ray"), settings(**changes)).run(reports.append)
    assert losses(reports) == losses(alone)
    assert result.metrics["val_loss"] == pytest.approx(alone[-1]["val_loss"])
    assert (tmp_path / "ray" / "encoder" / "README.md").is_file()


def test_the_time_that_is_left_follows_from_two_reports() -> None:
    remaining = Remaining()
    assert str(remaining.seconds({"step": 10}, 100)) == "nan"
    assert remaining.seconds({"step": 20}, 20) == 0
