"""What every peer prints: one JSON object with sources, examples, seconds and, where it can be known, CPU seconds."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: Takes the photographs, an empty folder and the number of processes.
Work = Callable[[list[Path], Path, int], None]


def report_of(work: Work) -> None:
    """Run a peer as the command line says and print its report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photographs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    paths = sorted(path for path in arguments.photographs.rglob("*") if path.is_file())
    work(paths, arguments.output, arguments.processes)
    seconds = time.monotonic() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    report = {
        "num_sources": len(paths),
        "num_examples": 4 * len(paths),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 3),
    }
    sys.stdout.write(json.dumps(report) + "\n")
