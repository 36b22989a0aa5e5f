"""Sound and text beside bare loops over the same sources, one CPU, by turns; CPU seconds of worker and decoder.

    python -m tests.bench.bench_media MEDIA [--rounds 2]

MEDIA: the folder of archives that tests/README.md describes. Loop for sound: soundfile reads, soxr resamples the
channels' mean, every clip that the engine chose is cut out and encoded as FLAC. Loop for text: `encode_batch` of the
dataset's own tokenizer over all documents. Both write one Parquet file; neither checks, equalises or hides anything.
Prints one JSON object; `rate_over_loop` is the loop's CPU time over the engine's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.manifest import read_asset, require_manifest
from unlabeled.pipeline.storage import Store, StoreOptions

from tests.bench.bench_tasks import unpack
from tests.runs import Place, rows_of, run_many
from tests.test_real_media import ANY_REJECTS

Loop = Callable[[Path, Store, Path], None]


def sound_loop(folder: Path, dataset: Store, target: Path) -> None:
    """Read, resample, cut out the dataset's clips, encode, write."""
    names = ["source_key", "start_a", "start_b", "num_samples", "sample_rate_hz"]
    rows = rows_of(dataset).select(names).sort_by("source_key").to_pylist()
    cells, key, mono = [], "", np.empty(0, np.float32)
    for row in rows:
        rate_hz = row["sample_rate_hz"]
        if row["source_key"] != key:
            key = row["source_key"]
            samples, from_hz = soundfile.read(folder / key, dtype="float32", always_2d=True)
            mono = soxr.resample(samples.mean(axis=1), from_hz, rate_hz, quality="HQ")
        for start in (row["start_a"], row["start_b"]):
            clip = mono[start : start + row["num_samples"]]
            buffer = io.BytesIO()
            pcm = np.clip(np.rint(clip * 32768), -32768, 32767).astype(np.int16)
            soundfile.write(buffer, pcm, rate_hz, format="FLAC", subtype="PCM_16")
            cells.append(buffer.getvalue())
    pq.write_table(pa.table({"audio": pa.array(cells, pa.binary())}), target)


def text_loop(folder: Path, dataset: Store, target: Path) -> None:
    """Read all documents, encode them in one batch, write their ids."""
    from tokenizers import Tokenizer

    (name,) = require_manifest(dataset).assets.values()
    tokenizer = Tokenizer.from_buffer(read_asset(dataset, name))
    documents = [path.read_text() for path in sorted(folder.rglob("*.txt"))]
    encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
    ids = pa.array([np.array(one.ids, np.int32) for one in encoded], pa.list_(pa.int32()))
    pq.write_table(pa.table({"ids": ids}), target)


#: Folder of sources, task, loop.
_RUNS: tuple[tuple[str, str, Loop], ...] = (
    ("audio/librispeech", "audio_same_clip", sound_loop),
    ("text", "text_masked_tokens", text_loop),
)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    found = {}
    with tempfile.TemporaryDirectory() as name, started_ray(RunSettings(num_cpus=1)):
        folder = Path(name)
        for source, task, loop in _RUNS:
            unpack(arguments.media, folder, source)
            pairs = [_pair(folder, source, task, loop, number) for number in range(arguments.rounds)]
            ratios = [loop_seconds / engine_seconds for engine_seconds, loop_seconds in pairs]
            found[task] = {"rate_over_loop": round(statistics.median(ratios), 3), "engine_and_loop_cpu_seconds": pairs}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _pair(folder: Path, source: str, task: str, loop: Loop, number: int) -> tuple[float, float]:
    """Return the CPU seconds of one run of the engine and one of the loop over it."""
    output = f"out/{number}/{task}"
    (report,) = run_many(Place(str(folder), StoreOptions()), source, output, [ANY_REJECTS], [task])
    dataset = Store.open(f"{folder}/{output}")
    began = time.process_time()
    loop(folder / source, dataset, folder / "loop.parquet")
    return round(sum(report.cpu_seconds_by_stage.values()), 3), round(time.process_time() - began, 3)


if __name__ == "__main__":
    main()
