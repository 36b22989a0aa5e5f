"""Daft: a row-wise generator function over paths, then `write_parquet`; its native runner uses all cores it sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bare_loop import make_examples
from tests.bench.peers.reporting import report_of


def work(paths: list[Path], output: Path, num_processes: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_processes])
    import daft
    from daft import DataType

    @daft.func(return_dtype=DataType.struct({"image": DataType.binary(), "label": DataType.int64()}))
    def rows(path: str) -> Iterator[dict[str, object]]:
        for label, image in enumerate(make_examples(Path(path).read_bytes(), 224)):
            yield {"image": image, "label": label}

    frame = daft.from_pydict({"path": list(map(str, paths))})
    frame.select(rows(daft.col("path")).alias("row")).write_parquet(str(output / "parquet"))


if __name__ == "__main__":
    report_of(work)
