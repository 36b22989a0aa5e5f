"""Sound and text beside bare loops over the same sources, one CPU, by turns, in CPU seconds.

    python -m tests.bench.bench_media MEDIA [--rounds 2] [--keys 4] [--only TEXT]

MEDIA: the folder of archives that tests/README.md describes; every source stands under `--keys` keys. Loop for sound:
soundfile reads, soxr resamples the channels' mean, every clip that the engine chose is cut out and encoded as FLAC;
`conditioned` equalises, levels and adds noise to it besides, as the task is to. Loop for text: `encode_batch` over all
documents, of the tokenizer that the engine is given; `in blocks`: over blocks of them, as the engine encodes, which
costs the tokenizer half. All write one Parquet file; none checks or hides anything.
Prints one JSON object; `rate_over_loop` is the loop's CPU time over that of driver, worker and decoder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.manifest import read_asset, require_manifest
from unlabeled.pipeline.sound import Conditioning
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.tokenizer import block_end, train

from tests.bench.bench_tasks import unpack
from tests.runs import Place, rows_of, run_many
from tests.test_real_media import ANY_REJECTS

Loop = Callable[[Path, Store, Path], None]


def sound_loop(folder: Path, dataset: Store, target: Path, *, conditioned: bool) -> None:
    """Read, resample, cut out the dataset's clips, condition them where asked for, encode, write."""
    of_sides = [f"{name}_{side}" for side in "ab" for name in ("start", "level_dbfs", "eq_db", "snr_db")]
    names = ["source_key", "num_samples", "sample_rate_hz", *of_sides]
    rows = rows_of(dataset).select(names).sort_by("source_key").to_pylist()
    cells, key, mono = [], "", np.empty(0, np.float32)
    for row in rows:
        rate_hz = row["sample_rate_hz"]
        if row["source_key"] != key:
            key = row["source_key"]
            samples, from_hz = soundfile.read(folder / key, dtype="float32", always_2d=True)
            mono = soxr.resample(samples.mean(axis=1), from_hz, rate_hz, quality="HQ")
        for side in "ab":
            clip = mono[row[f"start_{side}"] :][: row["num_samples"]]
            if conditioned:
                level_dbfs, eq_db, snr_db = (row[f"{name}_{side}"] for name in ("level_dbfs", "eq_db", "snr_db"))
                clip = Conditioning(level_dbfs, tuple(eq_db), snr_db)(clip, rate_hz)
            buffer = io.BytesIO()
            pcm = np.clip(np.rint(clip * 32768), -32768, 32767).astype(np.int16)
            soundfile.write(buffer, pcm, rate_hz, format="FLAC", subtype="PCM_16")
            cells.append(buffer.getvalue())
    pq.write_table(pa.table({"audio": pa.array(cells, pa.binary())}), target)


def text_loop(folder: Path, dataset: Store, target: Path, *, in_blocks: bool) -> None:
    """Read all documents, encode them (or blocks of them) in one batch, write their ids."""
    from tokenizers import Tokenizer

    (name,) = require_manifest(dataset).assets.values()
    tokenizer = Tokenizer.from_buffer(read_asset(dataset, name))
    documents = [path.read_text() for path in sorted(folder.rglob("*.txt"))]
    if in_blocks:
        documents = [block for document in documents for block in _blocks(document)]
    encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
    ids = pa.array([np.array(one.ids, np.int32) for one in encoded], pa.list_(pa.int32()))
    pq.write_table(pa.table({"ids": ids}), target)


def _blocks(text: str) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        end = block_end(text, begin)
        yield text[begin:end]
        begin = end


#: Folder of sources, task, its loops by name.
_RUNS: tuple[tuple[str, str, dict[str, Loop]], ...] = (
    (
        "audio/librispeech",
        "audio_same_clip",
        {"bare": partial(sound_loop, conditioned=False), "conditioned": partial(sound_loop, conditioned=True)},
    ),
    (
        "text",
        "text_masked_tokens",
        {"bare": partial(text_loop, in_blocks=False), "in blocks": partial(text_loop, in_blocks=True)},
    ),
)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keys", type=int, default=4)
    parser.add_argument("--only", default="", help="tasks whose name holds this text")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    found = {}
    with tempfile.TemporaryDirectory() as name, started_ray(RunSettings(num_cpus=1)):
        folder = Path(name)
        for source, task, loops in _RUNS:
            if arguments.only not in task:
                continue
            unpack(arguments.media, folder, source)
            sources = folder / "in" / task
            for key in range(arguments.keys):
                shutil.copytree(folder / source, sources / f"{key:03d}", copy_function=os.link)
            settings = _tokenizer(folder) if source == "text" else []
            rounds = [_round(folder, task, settings, loops, number) for number in range(arguments.rounds)]
            found[task] = {
                "rate_over_loop": {
                    name: round(statistics.median(one["loops"][name] / one["engine"] for one in rounds), 3)
                    for name in loops
                },
                "cpu_seconds": rounds,
            }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _tokenizer(folder: Path) -> list[str]:
    """Train a tokenizer on the texts as the engine would, outside of what is measured; return the setting for it."""
    documents = (path.read_text() for path in sorted((folder / "text").rglob("*.txt")))
    target = folder / "tokenizer.json"
    target.write_bytes(train(documents, 16384, 20_000_000))
    return [f"task.tokenizer_json={target}"]


def _round(folder: Path, task: str, settings: list[str], loops: dict[str, Loop], number: int) -> dict[str, Any]:
    """Return the CPU seconds of one run of the engine, by stage, too, and of the loops over the same sources."""
    output = f"out/{number}/{task}"
    (report,) = run_many(Place(str(folder), StoreOptions()), f"in/{task}", output, [ANY_REJECTS, *settings], [task])
    dataset = Store.open(f"{folder}/{output}")
    seconds = {}
    for name, loop in loops.items():
        began = time.process_time()
        loop(folder / "in" / task, dataset, folder / "loop.parquet")
        seconds[name] = round(time.process_time() - began, 3)
    stages = {name: round(value, 3) for name, value in report.cpu_seconds_by_stage.items()}
    return {"engine": round(sum(stages.values()), 3), "loops": seconds, "stages": stages}


if __name__ == "__main__":
    main()
