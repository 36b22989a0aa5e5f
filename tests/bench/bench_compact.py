"""A year of nightly increments, and what compaction makes of it, beside a clean build of the same sources.

python -m tests.bench.bench_compact --folder FOLDER [--nights 365] [--a-night 4] [--rounds 3]

Loads one epoch of each in interleaved rounds and prints one JSON object. The sources are rendered. What stands in
FOLDER from an earlier call is loaded again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from unlabeled.jobs.compact import Compact
from unlabeled.pipeline import discover
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.manifest import load_manifest, require_manifest
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools
from unlabeled.trainers.data import Loader, LoaderSettings

from tests.runs import jpeg
from tests.small_datasets import make, target

SIDE_PX = 128


def dataset(folder: Path) -> Target:
    """Return a rotation dataset to be made, with the default sizes of shards."""
    task = discover.make_task(discover.find_task("image_rotation"), {"side_px": SIDE_PX})
    return target(folder, task, shard=ShardSettings(), val_fraction=0.0)


def build(folder: Path, num_nights: int, a_night: int) -> tuple[Target, Target]:
    """Return a dataset made night by night, and one made at once."""
    nightly, clean = dataset(folder / "nightly"), dataset(folder / "clean")
    if load_manifest(clean.store):
        return nightly, clean
    inputs = Store.open(str(folder / "in"))
    (folder / "spool").mkdir(parents=True)
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as pool:
        tools = Tools(fence, folder / "spool", pool)
        for night in range(num_nights):
            for number in range(night * a_night, (night + 1) * a_night):
                inputs.put(f"{night:03d}/{number:05d}.jpg", jpeg(number, 192, 144))
            make(nightly, inputs, tools)
            print(f"night {night}", end="\r", file=sys.stderr)
        make(clean, inputs, tools)
    return nightly, clean


def seconds_of_an_epoch(store: Store, version: int) -> tuple[float, int]:
    """Return how long a loader takes from nothing to the end of an epoch, and how many examples it gave."""
    start = time.perf_counter()
    loader = Loader(store.uri, LoaderSettings(global_batch_size=64, version=version))
    num = sum(len(batch.example_ids) for batch in loader.batches(0, loader.steps_per_epoch))
    return time.perf_counter() - start, num


def main() -> None:
    """Build, compact, load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--a-night", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    nightly, clean = build(arguments.folder, arguments.nights, arguments.a_night)
    report = Compact(nightly.store.uri).run()
    ways = {
        "nightly": (nightly.store, report.version - 1),
        "compacted": (nightly.store, report.version),
        "clean": (clean.store, 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (store, version) in ways.items():
            seconds, num = seconds_of_an_epoch(store, version)
            rates[name].append(num / seconds)
    found: dict[str, Any] = {"compaction": report.model_dump(mode="json")}
    for name, (store, version) in ways.items():
        manifest = require_manifest(store, version)
        found[name] = {
            "num_shards": manifest.counts.num_shards,
            "num_table_files": len(manifest.tables),
            "examples_per_second": [round(rate) for rate in rates[name]],
            "median": round(statistics.median(rates[name])),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
