"""One CPU beside two, and one Ray node beside two of the same total, on the same photographs, interleaved.

    python -m tests.bench.bench_scaling PHOTOGRAPHS [--keys 10] [--rounds 2] [--work FOLDER]

A round: the bare loop (bare_loop.py) with one process and with two; `unlabeled materialize image_rotation` with one
CPU and with two; the same on a Ray cluster of one node with two CPUs and of two nodes with one each, on this machine.
What has one CPU is bound to one core, all of its processes: a machine of one core beside one of two.
Prints one JSON object: ratios, medians over the rounds, and every report. Engine time includes listing, planning and
worker start, not Ray's start. `object_store_mb` is the most that Ray's object stores held during a further run on two
nodes that is not timed, asked four times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.bench_images import spread
from tests.ray_head import RayHead, forget_token, start_head, start_node

_HERE = Path(__file__).parent
#: Addresses of the loopback interface: nodes of one machine need one each.
_IPS = ("127.0.0.2", "127.0.0.3")
_POLL_SECONDS = 0.25
_PLASMA_MB = re.compile(r"Plasma memory usage (\d+) MiB")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="unlabeled-bench-") as folder:
        work = Path(folder).resolve()
        num_sources = spread(arguments.photographs.resolve(), work / "in", arguments.keys)
        runs = runs_of(work)
        rounds = []
        for number in range(arguments.rounds):
            names = list(runs) if number % 2 == 0 else list(reversed(runs))
            rounds.append({name: runs[name]() for name in names})
            sys.stderr.write(json.dumps(rounds[-1]) + "\n")
        with cluster(2) as head:
            object_store_mb = most_in_object_stores(head, lambda: run_engine(work, address=head))
    found = medians(rounds)
    report = {"num_sources": num_sources, "ratios": ratios(found), "object_store_mb": object_store_mb}
    sys.stdout.write(json.dumps(report | {"medians": found, "rounds": rounds}, indent=1) + "\n")


def runs_of(work: Path) -> dict[str, Callable[[], dict[str, float]]]:
    """Return what is compared, by name."""
    return {
        "loop, 1 process": lambda: run_loop(work, 1),
        "loop, 2 processes": lambda: run_loop(work, 2),
        "engine, 1 CPU": lambda: run_engine(work, num_cpus=1),
        "engine, 2 CPUs": lambda: run_engine(work, num_cpus=2),
        "cluster, 1 node": lambda: run_on_cluster(work, 1),
        "cluster, 2 nodes": lambda: run_on_cluster(work, 2),
    }


def ratios(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return CPU seconds of two CPUs over one, scaling over the loop's, two nodes over one, the driver's share."""

    def over(one: str, other: str, figure: str) -> float:
        return found[one][figure] / found[other][figure]

    scaling = over("engine, 1 CPU", "engine, 2 CPUs", "seconds")
    loop_scaling = over("loop, 1 process", "loop, 2 processes", "seconds")
    two = found["engine, 2 CPUs"]
    values = {
        "cpu_seconds_2_over_1": over("engine, 2 CPUs", "engine, 1 CPU", "cpu_seconds"),
        "loop_cpu_seconds_2_over_1": over("loop, 2 processes", "loop, 1 process", "cpu_seconds"),
        "scaling": scaling,
        "loop_scaling": loop_scaling,
        "scaling_over_loop": scaling / loop_scaling,
        "rate_2_nodes_over_1": over("cluster, 1 node", "cluster, 2 nodes", "seconds"),
        "cpu_seconds_2_nodes_over_1": over("cluster, 2 nodes", "cluster, 1 node", "cpu_seconds"),
        "driver_share": two["driver_cpu_seconds"] / two["cpu_seconds"],
    }
    return {name: round(value, 4) for name, value in values.items()}


def medians(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the median of every figure, by name of the run."""
    return {
        name: {figure: statistics.median(one[name][figure] for one in rounds) for figure in rounds[0][name]}
        for name in rounds[0]
    }


def run_loop(work: Path, num_processes: int) -> dict[str, float]:
    """Run the bare loop and return its seconds."""
    command = [str(_HERE / "bare_loop.py"), str(work / "in"), str(work / "out"), f"--processes={num_processes}"]
    report = _json_of(command, work / "out", {}, num_processes)
    return {name: report[name] for name in ("seconds", "cpu_seconds")}


def run_on_cluster(work: Path, num_nodes: int) -> dict[str, float]:
    """Start a cluster, run the engine on it and return its seconds."""
    with cluster(num_nodes) as head:
        return run_engine(work, address=head)


def run_engine(work: Path, *, num_cpus: int = 2, address: RayHead | None = None) -> dict[str, float]:
    """Run the engine on a Ray of its own with `num_cpus`, or on a cluster, and return its seconds."""
    where = ["--num-cpus", str(num_cpus)] if address is None else ["--address", address.gcs_address]
    command = [
        *("-c", "from unlabeled.jobs.cli import main; main()", "materialize", "--json", *where),
        *("--task", "image_rotation", "--input", str(work / "in"), "--output", str(work / "out")),
        *("--set", "task.upscale=allow", "--set", "task.color_px=1"),
    ]
    report = _json_of(command, work / "out", {} if address is None else address.env, num_cpus)
    stages: dict[str, float] = report["cpu_seconds_by_stage"]
    return {
        "seconds": report["seconds"],
        "cpu_seconds": sum(stages.values()),
        "driver_cpu_seconds": stages["driver"],
        "num_shards": report["num_shards"],
    }


@contextlib.contextmanager
def cluster(num_nodes: int) -> Iterator[RayHead]:
    """A cluster of `num_nodes` with two CPUs in all."""
    head = start_head(2 // num_nodes, is_bare=False, ip=_IPS[0])
    try:
        nodes = [start_node(head, 1, {}, ip) for ip in _IPS[1:num_nodes]]
        try:
            yield head
        finally:
            for node in nodes:
                node.kill()
    finally:
        head.kill()


def most_in_object_stores(head: RayHead, run: Callable[[], Any]) -> int:
    """Return how many MiB the object stores of a cluster held at most during `run`."""
    import ray
    from ray._private.internal_api import memory_summary

    os.environ.update(head.env)
    forget_token()
    ray.init(address=head.gcs_address, logging_level="error", log_to_driver=False)
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            text = memory_summary(stats_only=True)  # type: ignore[no-untyped-call]
            seen.append(int(_PLASMA_MB.findall(text)[0]))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        run()
    finally:
        over.set()
        watching.join()
        ray.shutdown()
    return max(seen)


def _json_of(arguments: list[str], output: Path, env: Mapping[str, str], num_cpus: int) -> dict[str, Any]:
    done = subprocess.run(
        [*(("taskset", "--cpu-list", "0") if num_cpus == 1 else ()), sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=_HERE.parents[1],
        env={**os.environ, **env},
    )
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{arguments} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


if __name__ == "__main__":
    main()
