"""Engine against the bare loop on the same photographs and settings, interleaved.

    python tests/bench/bench_images.py PHOTOGRAPHS [--keys 50] [--rounds 2] [--work FOLDER]

Every photograph is put under `--keys` keys (hard links where the disk allows). A round is one bare loop
(bare_loop.py) and one `unlabeled materialize` with two CPUs, in alternating order. Prints one JSON object: rates, CPU
seconds a source, and the engine's rate as a share of the loop's, round by round. Engine time includes worker start,
not Ray's start.
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


def run_loop(photographs: Path, output: Path) -> dict[str, Any]:
    command = [sys.executable, str(_HERE / "bare_loop.py"), str(photographs), str(output)]
    return _json_of(command, output)


def run_engine(photographs: Path, output: Path) -> dict[str, Any]:
    command = [
        *(sys.executable, "-c", "from unlabeled.jobs.cli import main; main()", "materialize", "--json"),
        *("--task", "image_rotation", "--input", str(photographs), "--output", str(output), "--num-cpus", "2"),
        *("--set", "task.upscale=allow"),
    ]
    return _json_of(command, output)


def _json_of(command: list[str], output: Path) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="unlabeled-bench-") as folder:
        work = Path(folder)
        num_sources = spread(arguments.photographs.resolve(), work / "in", arguments.keys)
        rounds = []
        for number in range(arguments.rounds):
            runs = {"loop": run_loop, "engine": run_engine}
            names = ["loop", "engine"] if number % 2 == 0 else ["engine", "loop"]
            rounds.append({name: runs[name](work / "in", work / name) for name in names})
            print(json.dumps(_summary(rounds[-1])), file=sys.stderr)
        ratios = [_summary(each)["engine_over_loop"] for each in rounds]
        report = {
            "num_sources": num_sources,
            "rounds": [_summary(each) for each in rounds],
            "median_engine_over_loop": statistics.median(ratios),
        }
    print(json.dumps(report, indent=1))


def _summary(each: dict[str, Any]) -> dict[str, float]:
    loop, engine = each["loop"], each["engine"]
    rates = {name: each[name]["num_examples"] / each[name]["seconds"] for name in each}
    return {
        "loop_examples_per_second": round(rates["loop"]),
        "engine_examples_per_second": round(rates["engine"]),
        "engine_over_loop": round(rates["engine"] / rates["loop"], 3),
        "loop_cpu_ms_per_source": round(1000 * loop["cpu_seconds"] / loop["num_sources"], 3),
        "engine_cpu_ms_per_source": round(1000 * engine["cpu_seconds"] / engine["num_sources"], 3),
        "engine_seconds": engine["seconds"],
        "ray_start_seconds": engine["ray_start_seconds"],
    }


if __name__ == "__main__":
    main()
