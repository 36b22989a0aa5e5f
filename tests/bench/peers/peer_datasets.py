"""Hugging Face datasets: `Dataset.map(batched=True, num_proc=n)` from paths to rows, then `to_parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.bare_loop import make_examples
from tests.bench.peers.reporting import report_of


def _rows(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
    images = [image for path in batch["path"] for image in make_examples(Path(path).read_bytes(), 224)]
    return {"image": images, "label": [0, 1, 2, 3] * len(batch["path"])}


def work(paths: list[Path], output: Path, num_processes: int) -> None:
    from datasets import Dataset, Features, Value

    made = Dataset.from_dict({"path": list(map(str, paths))}).map(
        _rows,
        batched=True,
        batch_size=100,
        remove_columns=["path"],
        num_proc=num_processes,
        features=Features({"image": Value("binary"), "label": Value("int64")}),
        cache_file_name=str(output / "cache.arrow"),
    )
    made.to_parquet(str(output / "rows.parquet"))


if __name__ == "__main__":
    report_of(work)
