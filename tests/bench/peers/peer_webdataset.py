"""WebDataset: a pool of processes, each with its own `TarWriter`."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from tests.bench.bare_loop import make_examples
from tests.bench.peers.reporting import report_of


def _write(paths: list[Path], tar: Path) -> None:
    from webdataset import TarWriter

    with TarWriter(str(tar)) as sink:
        for number, path in enumerate(paths):
            for label, image in enumerate(make_examples(path.read_bytes(), 224)):
                sink.write({"__key__": f"{number:08d}-{label}", "jpg": image, "cls": str(label).encode()})


def work(paths: list[Path], output: Path, num_processes: int) -> None:
    parts = [(paths[part::num_processes], output / f"{part}.tar") for part in range(num_processes)]
    with multiprocessing.Pool(num_processes) as pool:
        pool.starmap(_write, parts)


if __name__ == "__main__":
    report_of(work)
