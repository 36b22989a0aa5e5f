"""Engine, bare loop and peers on the same photographs and settings, interleaved.

    python tests/bench/bench_images.py PHOTOGRAPHS [--keys 50] [--rounds 2] [--peers] [--table FILE] [--work FOLDER]

Every photograph is put under `--keys` keys (hard links where the disk allows). A round is one bare loop
(bare_loop.py), one `unlabeled materialize` with two CPUs and, with `--peers`, each of peers/ whose library is
installed (extra `bench`), in alternating order. Prints one JSON object: medians over the rounds and every report;
`--table` writes the medians as Markdown. Engine time includes listing, planning and worker start, not Ray's start;
the peers' and the loop's includes all that they do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def spread(photographs: Path, target: Path, num_keys: int) -> int:
    """Put every photograph under `num_keys` keys and return how many files that makes."""
    paths = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for key in range(num_keys):
        for path in paths:
            link = target / f"{key:03d}" / path.relative_to(photographs)
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, link)
            except OSError:
                shutil.copyfile(path, link)
    return num_keys * len(paths)


#: Scripts of peers/ and the library that each needs.
_PEERS = {
    "peer_datasets": "datasets",
    "peer_litdata": "litdata",
    "peer_webdataset": "webdataset",
    "peer_daft": "daft",
    "ray_read_images": "ray",
}
Run = Callable[[Path, Path], dict[str, Any]]


def runs_of(*, peers: bool) -> dict[str, Run]:
    """Return what is compared, by name."""
    runs: dict[str, Run] = {"loop": run_loop, "engine": run_engine}
    names = [name for name, library in _PEERS.items() if peers and find_spec(library)]
    return runs | {name: partial(run_peer, name) for name in names}


def run_loop(photographs: Path, output: Path) -> dict[str, Any]:
    """Run the bare loop and return its report."""
    return _json_of([sys.executable, str(_HERE / "bare_loop.py"), str(photographs), str(output)], output)


def run_peer(name: str, photographs: Path, output: Path) -> dict[str, Any]:
    """Run one of peers/ and return its report."""
    return _json_of([sys.executable, "-m", f"tests.bench.peers.{name}", str(photographs), str(output)], output)


def run_engine(photographs: Path, output: Path) -> dict[str, Any]:
    command = [
        *(sys.executable, "-c", "from unlabeled.jobs.cli import main; main()", "materialize", "--json"),
        *("--task", "image_rotation", "--input", str(photographs), "--output", str(output), "--num-cpus", "2"),
        # As the loop and the peers do it: they keep colour as it is.
        *("--set", "task.upscale=allow", "--set", "task.color_px=1"),
    ]
    report = _json_of(command, output)
    return report | {"cpu_seconds": sum(report["cpu_seconds_by_stage"].values())}


def _json_of(command: list[str], output: Path) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_HERE.parents[1])
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--table", type=Path, default=None)
    arguments = parser.parse_args()
    runs = runs_of(peers=arguments.peers)
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="unlabeled-bench-") as folder:
        work = Path(folder).resolve()
        num_sources = spread(arguments.photographs.resolve(), work / "in", arguments.keys)
        rounds = []
        for number in range(arguments.rounds):
            names = list(runs) if number % 2 == 0 else list(reversed(runs))
            rounds.append({name: runs[name](work / "in", work / name) for name in names})
            sys.stderr.write(json.dumps(medians(rounds[-1:])) + "\n")
    found = medians(rounds)
    if arguments.table:
        arguments.table.write_text(table_of(found, num_sources, len(rounds)))
    sys.stdout.write(json.dumps({"num_sources": num_sources, "medians": found, "rounds": rounds}, indent=1) + "\n")


def medians(rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return, by name, the medians over rounds: examples a second, CPU ms a source, and both over the loop's."""
    found = {}
    for name in sorted(rounds[0], key=list(rounds[0]).index):
        each = [(one[name], one["loop"]) for one in rounds]
        found[name] = {
            "examples_per_second": round(statistics.median(map(_rate, (mine for mine, _ in each)))),
            "cpu_ms_per_source": round(statistics.median(_cpu_ms(mine) for mine, _ in each), 3),
            "rate_over_loop": round(statistics.median(_rate(mine) / _rate(loop) for mine, loop in each), 3),
            "cpu_over_loop": round(statistics.median(_cpu_ms(mine) / _cpu_ms(loop) for mine, loop in each), 3),
        }
    return found


def table_of(found: dict[str, dict[str, float]], num_sources: int, num_rounds: int) -> str:
    """Return the medians as a Markdown table."""
    lines = [f"{num_sources:,} sources, medians of {num_rounds} rounds.", ""]
    lines += ["| | examples/s | CPU ms a source | rate / loop | CPU / loop |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | " + " | ".join(f"{value:,}" for value in row.values()) + " |" for name, row in found.items()
    ]
    return "\n".join([*lines, ""])


def _rate(report: dict[str, Any]) -> float:
    return float(report["num_examples"] / report["seconds"])


def _cpu_ms(report: dict[str, Any]) -> float:
    return float(1000 * report["cpu_seconds"] / report["num_sources"])


if __name__ == "__main__":
    main()
