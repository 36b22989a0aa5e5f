"""A machine that is busy makes the same bytes as an idle one: clocks break hangs and decide nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.storage import Store

from tests import planted
from tests.broken_media import cut
from tests.runs import files_of

pytestmark = pytest.mark.slow
BURNERS_PER_CPU = 4


@pytest.fixture
def burners() -> Iterator[None]:
    """Processes that take all the time they get."""
    count = BURNERS_PER_CPU * (os.cpu_count() or 1)
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    yield
    for process in running:
        process.kill()
        process.wait()


def build_both(folder: Path, name: str) -> dict[str, Store]:
    sources = planted.photographs(folder / "pictures", 24)
    (sources / "cut.jpg").write_bytes(cut((sources / "0.jpg").read_bytes()))
    return {
        "image_rotation": planted.build("image_rotation", sources, folder / f"{name}-pictures", side_px=64),
        "video_frame_order": planted.build(
            "video_frame_order", planted.videos(folder / "videos"), folder / f"{name}-videos", side_px=64
        ),
    }


def reasons(store: Store) -> list[tuple[str, str]]:
    parts = load_tables(store, require_manifest(store), "parts").parts
    return sorted(zip(parts["source_key"].to_pylist(), parts["reason"].to_pylist(), strict=True))


def test_a_busy_machine_gives_the_bytes_of_an_idle_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    idle = build_both(tmp_path, "idle")
    request.getfixturevalue("burners")
    busy = build_both(tmp_path, "busy")
    for task, store in idle.items():
        assert files_of(busy[task]) == files_of(store)
        assert reasons(busy[task]) == reasons(store)
