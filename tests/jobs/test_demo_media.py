from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from unlabeled.jobs.demo_media import render_folder, render_photograph


def test_a_photograph_depends_on_its_number_alone() -> None:
    assert np.array_equal(np.asarray(render_photograph(3)), np.asarray(render_photograph(3)))
    assert render_photograph(3).tobytes() != render_photograph(4).tobytes()


def test_photographs_are_large_enough_for_the_default_task() -> None:
    assert all(min(render_photograph(number).size) >= 224 for number in range(20))


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    render_folder(tmp_path, 4)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    render_folder(tmp_path, 5)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert len(before) == 4
    assert len(after) == 5
    assert before.items() < after.items()
    with Image.open(next(iter(after))) as picture:
        assert picture.format == "JPEG"
