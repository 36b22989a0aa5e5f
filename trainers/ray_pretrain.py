"""Pretraining on Ray Train: workers, their restarts after a fault, reports to the driver, stopping on request.

When a worker dies, all are started again, on as many as there is room for. They go on from the newest checkpoint that
is committed in the run's folder: what was reported to Ray is registered only when its controller polls, so no
checkpoint is handed to Ray at all. Ray's own restarts are not used: they would wait for a lost machine for ever, or,
elastic, take numbers of workers among which the lanes cannot be dealt.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.metrics import Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..pipeline.errors import ConfigError, Interrupted, UnlabeledError
from ..pipeline.storage import last_name
from .config import PretrainSettings
from .loop import Diverged, Report
from .placing import Machine, cpus_for_each, num_places
from .pretrain import possible_world_sizes, pretrain_here
from .ranks import Ranks
from .ray_scaling import wait_for_room
from .run import PretrainResult, Run

#: Time between two looks of the driver for reports, and of the first worker for a request to stop.
_POLL_SECONDS = 1.0
#: Ray sets it for the driver of a submitted job.
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Shown in Ray's metrics as `unlabeled_train_<name>`, labelled with the last name of the run.
GAUGES = {
    "loss": "Mean loss since the last report.",
    "accuracy": "Share of right predictions since the last report.",
    "examples_per_second": "Examples trained on a second, over all workers.",
    "data_wait_fraction": "Share of the time in which the first worker waited for data.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the gradients.",
    "epoch": "Passes over the train split.",
    "val_loss": "Mean loss over the val split.",
    "val_accuracy": "Share of right predictions over the val split.",
}


def pretrain_on_ray(run: Run, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> PretrainResult:
    """Train on the Ray that this process is connected to and return the result.

    Args:
        run: from `prepare`.
        report: called here, in a thread, with each report of the workers.
        should_stop: asked here about once a second.

    Raises:
        ConfigError: the cluster has too few CPUs or GPUs for the workers.
        Interrupted: `should_stop` said so; a checkpoint was committed first, running again goes on.
        UnlabeledError: the loss is not finite, workers died more often than `run.max_failures`, or machines that were
            waited for did not come.
    """
    if run.settings.run.start_seconds:
        wait_for_room(
            [run.settings.run.num_workers], _at_least(run.settings), run.settings.run.start_seconds, should_stop
        )
    workers = _first_workers(run.settings)
    sizes = possible_world_sizes(run)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    # Each report waits until the controller has looked for the one before: every two seconds by default, which would
    # slow quick steps down to that. A worker that died is found sooner, too.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    mailbox = _mailbox_here()
    with _watching(mailbox, report, should_stop), tempfile.TemporaryDirectory() as scratch:
        for num_failures in itertools.count():
            try:
                answer = _fit(run, workers, mailbox, scratch, num_failures)
                break
            except ray.train.TrainingFailedError as error:
                if num_failures == run.settings.run.max_failures:
                    raise UnlabeledError(
                        f"the workers failed more often than `run.max_failures` allows: {error}"
                    ) from error
            seconds = run.settings.run.replacement_seconds
            workers = replace(workers, num=wait_for_room(sizes, workers.of_each, seconds, should_stop))
    if "interrupted" in answer:
        raise Interrupted(answer["interrupted"])
    if "diverged" in answer:
        raise Diverged(answer["diverged"])
    return PretrainResult.model_validate(answer["result"])


@dataclass(frozen=True)
class _Workers:
    """How many, whether they have a GPU each, and the resources of each."""

    num: int
    use_gpu: bool
    of_each: dict[str, float]


def _fit(run: Run, workers: _Workers, mailbox: Any, scratch: str, number: int) -> dict[str, Any]:
    """Start the workers for the `number`-th time and return the first one's answer; raises TrainingFailedError."""
    trainer = TorchTrainer(
        _worker,  # type: ignore[arg-type]
        train_loop_config={"run": run.model_dump(mode="json"), "mailbox": mailbox},
        scaling_config=ScalingConfig(
            num_workers=workers.num, use_gpu=workers.use_gpu, resources_per_worker=workers.of_each
        ),
        run_config=RunConfig(
            name=f"pretrain-{number}", storage_path=scratch, failure_config=FailureConfig(max_failures=0)
        ),
    )
    answer: dict[str, Any] = trainer.fit().return_value  # type: ignore[attr-defined]
    return answer


def _at_least(settings: PretrainSettings) -> dict[str, float]:
    """Return what a worker needs, whatever the machines have."""
    num_cpus = settings.run.cpus_per_worker or 1.0
    return {"CPU": num_cpus, "GPU": 1.0} if settings.compute.device == "cuda" else {"CPU": num_cpus}


def _first_workers(settings: PretrainSettings) -> _Workers:
    """Return the workers that a run begins with, each with as much as fits; raises ConfigError where they do not."""
    num_workers, machines = settings.run.num_workers, _machines()
    num_gpus = sum(one.num_gpus for one in machines)
    use_gpu = settings.compute.device == "cuda" or (settings.compute.device == "auto" and num_gpus >= num_workers)
    if use_gpu and num_gpus < num_workers:
        raise ConfigError(f"`run.num_workers`: found {num_workers}, but the cluster has {num_gpus:g} GPUs.")
    num_cpus = settings.run.cpus_per_worker or cpus_for_each(machines, num_workers, int(use_gpu))
    if num_places(machines, num_cpus, int(use_gpu)) < num_workers:
        raise ConfigError(
            f"`run.num_workers`: {num_workers} workers of {num_cpus:g} CPUs each do not fit on machines "
            f"that have {', '.join(f'{one.num_cpus:g}' for one in machines)} for them."
        )
    of_each = {"CPU": num_cpus, "GPU": 1.0} if use_gpu else {"CPU": num_cpus}
    return _Workers(num_workers, use_gpu, of_each)


def _machines() -> list[Machine]:
    """Return what each machine has. In a job this one has less by what is taken: the driver holds CPUs itself."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    num_cpus = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in nodes}
    if _IN_A_JOB in os.environ:
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        here = ray.get_runtime_context().get_node_id()
        num_cpus[here] = max(0.0, num_cpus[here] - (sum(num_cpus.values()) - free.get("CPU", 0.0)))
    return [Machine(num_cpus[node["NodeID"]], node["Resources"].get("GPU", 0.0)) for node in nodes]


def _worker(config: dict[str, Any]) -> dict[str, Any]:
    """Train as one of the workers; what ends a run on purpose is returned, since Ray tries again what is raised."""
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), context.get_local_rank())
    run = Run.model_validate(config["run"])
    mailbox = config["mailbox"]
    receive = _Reporting(mailbox, run, ranks)
    try:
        result = pretrain_here(run, ranks, receive, _StopFlag(mailbox))
    except Interrupted as stopped:
        return {"interrupted": str(stopped)}
    except Diverged as diverged:
        return {"diverged": str(diverged)}
    return {"result": None if result is None else result.model_dump(mode="json")}


class _Reporting:
    """Hands a worker's reports to Ray Train, to Ray's metrics and to the driver."""

    def __init__(self, mailbox: Any, run: Run, ranks: Ranks) -> None:
        self._mailbox, self._ranks = mailbox, ranks
        self._gauges: dict[str, Gauge] = {}
        if ranks.is_first:
            for name, text in GAUGES.items():
                self._gauges[name] = Gauge(f"unlabeled_train_{name}", text, ("run",))
                self._gauges[name].set_default_tags({"run": last_name(run.output)})

    def __call__(self, report: Report) -> None:
        ray.train.report(dict(report))
        if self._ranks.is_first:
            self._mailbox.put.remote(report)
            for name, value in report.items():
                if name in self._gauges:
                    self._gauges[name].set(value)


class _StopFlag:
    """Asks the driver's mailbox, at most once in a while."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._asked_at = 0.0

    def __call__(self) -> bool:
        if time.monotonic() - self._asked_at < _POLL_SECONDS:
            return False
        self._asked_at = time.monotonic()
        return bool(ray.get(self._mailbox.is_stopped.remote()))


@ray.remote(num_cpus=0)
class _Mailbox:
    """Between the driver and the first worker: reports one way, the request to stop the other."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._stopped = False

    def put(self, report: Report) -> None:
        self._reports.append(report)

    def take(self) -> list[Report]:
        taken, self._reports = self._reports, []
        return taken

    def stop(self) -> None:
        self._stopped = True

    def is_stopped(self) -> bool:
        return self._stopped


def _mailbox_here() -> Any:
    """Return a mailbox on the driver's own machine: whichever other is lost, the run goes on."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return _Mailbox.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _watching(mailbox: Any, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> Iterator[None]:
    """Pass reports on and requests to stop back, in a thread, while the context lasts."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            _pass_on(mailbox, report)
            if should_stop():
                ray.get(mailbox.stop.remote())

    thread = threading.Thread(target=watch, name="reports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _pass_on(mailbox, report)


def _pass_on(mailbox: Any, report: Callable[[Report], None]) -> None:
    for each in ray.get(mailbox.take.remote()):
        report(each)
