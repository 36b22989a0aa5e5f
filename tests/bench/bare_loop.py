"""The yardstick: a bare two-process Pillow + ParquetWriter loop, no engine, no checks, no fence.

    python tests/bench/bare_loop.py PHOTOGRAPHS OUTPUT [--processes 2] [--side 224]

Every process takes every n-th photograph: whole picture to short side 256 (bicubic), central 224, four turns, JPEG
quality 95 4:4:4, one Parquet file. Prints one JSON object: sources, examples, seconds, CPU seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def make_examples(data: bytes, side_px: int) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as opened:
        return turns_of(opened.convert("RGB"), side_px)


def turns_of(picture: Image.Image, side_px: int) -> list[bytes]:
    scale = side_px / 0.875 / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = (picture.width - side_px) // 2, (picture.height - side_px) // 2
    crop = picture.crop((left, top, left + side_px, top + side_px))
    encoded = []
    for turn in _TURNS:
        buffer = io.BytesIO()
        turned = crop if turn is None else crop.transpose(turn)
        turned.save(buffer, "JPEG", quality=95, subsampling=0)
        encoded.append(buffer.getvalue())
    return encoded


def work(paths: list[Path], output: Path, side_px: int) -> None:
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    with pq.ParquetWriter(output, schema, compression="none", use_dictionary=False) as writer:
        images: list[bytes] = []
        labels: list[int] = []
        for path in paths:
            images += make_examples(path.read_bytes(), side_px)
            labels += [0, 1, 2, 3]
            if len(images) >= 400:
                writer.write_table(pa.table({"image": pa.array(images, pa.binary()), "label": labels}, schema))
                images, labels = [], []
        if images:
            writer.write_table(pa.table({"image": pa.array(images, pa.binary()), "label": labels}, schema))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    paths = sorted(path for path in arguments.photographs.rglob("*") if path.is_file())
    processes = [
        multiprocessing.Process(
            target=work,
            args=(paths[part :: arguments.processes], arguments.output / f"{part}.parquet", arguments.side),
        )
        for part in range(arguments.processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with {process.exitcode}")
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "num_sources": len(paths),
        "num_examples": 4 * len(paths),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
