"""LitData: `optimize` from paths to its own chunks of 64 MB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.bare_loop import make_examples
from tests.bench.peers.reporting import report_of


def _rows(path: str) -> Iterator[dict[str, Any]]:
    for label, image in enumerate(make_examples(Path(path).read_bytes(), 224)):
        yield {"image": image, "label": label}


def work(paths: list[Path], output: Path, num_processes: int) -> None:
    from litdata import optimize

    optimize(
        fn=_rows,
        inputs=list(map(str, paths)),
        output_dir=str(output / "chunks"),
        num_workers=num_processes,
        chunk_bytes="64MB",
    )


if __name__ == "__main__":
    report_of(work)
