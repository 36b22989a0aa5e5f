"""Ray Data as documented: `read_images` -> `flat_map` -> `write_parquet`.

CPU seconds are those of this process alone, not of its workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from tests.bench.bare_loop import turns_of
from tests.bench.peers.reporting import report_of


def _rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    images = turns_of(Image.fromarray(row["image"]), 224)
    return [{"image": image, "label": label} for label, image in enumerate(images)]


def work(paths: list[Path], output: Path, num_processes: int) -> None:
    import ray

    ray.init(num_cpus=num_processes, include_dashboard=False, log_to_driver=False)
    images = ray.data.read_images(list(map(str, paths)), mode="RGB")
    images.flat_map(_rows).write_parquet(str(output))


if __name__ == "__main__":
    report_of(work)
