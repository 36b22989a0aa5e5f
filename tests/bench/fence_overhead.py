"""What the fence costs: photographs decoded and cropped behind it and in this process, by turns.

    python -m tests.bench.fence_overhead [FOLDER OF JPEGS]

Prints one JSON object. This process keeps freed memory as the child does: without that it is slower than the fence.
Each photograph counts with the shortest of its times over all rounds, so that other processes
on the machine distort little. Without a folder, synthetic photographs of 500 x 375 px are used.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image as PillowImage
from unlabeled.pipeline.decode.confine import keep_freed_memory
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.image import decode_image
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.resample import square_box

from tests.broken_media import encoded
from tests.samples import photograph

NUM_ROUNDS = 15
NUM_IMAGES = 120


def main() -> None:
    """Measure and print."""
    keep_freed_memory()
    files = _files(sys.argv[1:])
    limits, options = Limits(), DecodeOptions()
    with Fence(limits, options) as fence:
        ways: dict[str, Callable[[bytes], Image]] = {
            "fence": fence.image,
            "in_process": lambda data: decode_image(data, limits, options),
        }
        shortest = {name: [math.inf] * len(files) for name in ways}
        for _ in range(NUM_ROUNDS):
            for name, decode in ways.items():
                for place, data in enumerate(files):
                    shortest[name][place] = min(shortest[name][place], _seconds(decode, data))
    mean_ms = {name: 1000 * sum(times) / len(files) for name, times in shortest.items()}
    overhead = mean_ms["fence"] / mean_ms["in_process"] - 1
    report = {f"{name}_ms": round(found, 3) for name, found in mean_ms.items()}
    print(json.dumps(report | {"num_images": len(files), "overhead_fraction": round(overhead, 3)}))


def _seconds(decode: Callable[[bytes], Image], data: bytes) -> float:
    started = time.perf_counter()
    _crop(decode(data))
    return time.perf_counter() - started


def _crop(image: Image) -> None:
    image.crop(square_box(image.width_px, image.height_px, 224, 0.875), 224, 224)


def _files(folders: list[str]) -> list[bytes]:
    if folders:
        return [path.read_bytes() for path in sorted(Path(folders[0]).rglob("*.[jJ][pP]*[gG]"))[:NUM_IMAGES]]
    photographs = [photograph(seed, 500, 375) for seed in range(10)]
    files = [encoded(PillowImage.fromarray(pixels), "JPEG", quality=90) for pixels in photographs]
    return files * (NUM_IMAGES // len(files))


if __name__ == "__main__":
    main()
