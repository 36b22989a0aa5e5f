"""Peak memory of a worker with its decoder over ever larger sources: text, sound, video, pictures.

    python -m tests.bench.bench_memory MEDIA [--sizes-mb 16 256 1024]

MEDIA: the folder of archives that tests/README.md describes. Each run is one source of about that size: lines of text,
a recording (16-bit WAV), a film (one of MEDIA, its packets again and again). Pictures are let in up to 64 MB and 50
million pixels, so these are of 1, 10 and 50 million. Prints one JSON object: peak resident MB by medium and size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.storage import StoreOptions

from tests.bench.bench_tasks import unpack
from tests.runs import Place, run_many

_MEGABYTE = 1_000_000
_PICTURE_SIDES_PX = (1000, 3160, 7070)


def write_text(media: Path, target: Path, num_bytes: int) -> None:
    """Write the texts of `media` again and again, numbered line by line."""
    lines = [line for path in sorted(media.rglob("*.txt")) for line in path.read_text().splitlines() if line]
    written = 0
    with target.open("w") as file:
        while written < num_bytes:
            for line in lines:
                written += file.write(f"{written} {line}\n")


def write_sound(media: Path, target: Path, num_bytes: int) -> None:
    """Write noise at changing levels, 16 bit, 16 kHz."""
    del media
    rng = np.random.default_rng(0)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        for _ in range(0, num_bytes, 1 << 20):
            file.writeframes((rng.standard_normal(1 << 19) * rng.uniform(100, 5000)).astype("<i2").tobytes())


def write_video(media: Path, target: Path, num_bytes: int) -> None:
    """Write the packets of the largest film of `media` again and again, their times going on."""
    source = max(media.rglob("*.mp4"), key=lambda path: path.stat().st_size)
    with av.open(str(target), "w", options={"movflags": "faststart"}) as made:
        stream, offset, written = None, 0, 0
        while written < num_bytes:
            with av.open(str(source)) as film:
                video = film.streams.video[0]
                stream = stream or made.add_stream_from_template(video)
                end = 0
                for packet in film.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    written += packet.size
                    made.mux(packet)
                offset += end


def write_picture(media: Path, target: Path, side_px: int) -> None:
    """Write a square picture of noise over a slope."""
    del media
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, side_px)[:, None, None] + rng.integers(0, 55, (side_px, side_px, 3))
    Image.fromarray(slope.astype(np.uint8)).save(target, "JPEG", quality=90)


#: Folder of MEDIA, suffix, task, how to write a source.
_KINDS: dict[str, tuple[str, str, str, Callable[[Path, Path, int], None]]] = {
    "text": ("text", "txt", "text_masked_tokens", write_text),
    "sound": ("", "wav", "audio_same_clip", write_sound),
    "video": ("video", "mp4", "video_frame_pairs", write_video),
    "picture": ("", "jpg", "image_rotation", write_picture),
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--sizes-mb", type=int, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--only", choices=(*_KINDS,), default=None)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name, started_ray(RunSettings(num_cpus=1)):
        for kind in [arguments.only] if arguments.only else _KINDS:
            sizes = _PICTURE_SIDES_PX if kind == "picture" else [size * _MEGABYTE for size in arguments.sizes_mb]
            found[kind] = _peaks(arguments.media.resolve(), Path(name), kind, sizes)
            sys.stderr.write(f"{kind}: {found[kind]}\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _peaks(media: Path, folder: Path, kind: str, sizes: Sequence[int]) -> dict[str, dict[str, int]]:
    """Return, by the source's size, the peak memory of worker and decoder, and how many examples were made."""
    source, suffix, task, write = _KINDS[kind]
    if source:
        unpack(media, folder, source)
    peaks = {}
    for number, size in enumerate(sizes):
        work = folder / f"{kind}-{number}"
        (work / "in").mkdir(parents=True)
        one = work / "in" / f"source.{suffix}"
        write(folder / source, one, size)
        (report,) = run_many(Place(str(work), StoreOptions()), "in", "out", ["val_fraction=0"], [task])
        peaks[f"{one.stat().st_size / _MEGABYTE:.1f} MB"] = {
            "peak_mb": report.peak_worker_rss_bytes // _MEGABYTE,
            "num_examples": report.num_examples,
        }
        shutil.rmtree(work)
    return peaks


if __name__ == "__main__":
    main()
