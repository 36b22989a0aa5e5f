from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from unlabeled.jobs.demo_media import kind_of, render_folder, render_photograph


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


def test_the_folder_says_what_a_photograph_shows(tmp_path: Path) -> None:
    render_folder(tmp_path, 12)
    assert {folder.name: len(list(folder.iterdir())) for folder in tmp_path.iterdir()} == dict.fromkeys(
        ("boat", "fir", "goblet", "house", "lamp", "mushroom"), 2
    )
    assert kind_of(0) == kind_of(6) == "boat"


def test_the_backdrop_tells_nothing_of_up_and_down() -> None:
    """The mean of the upper edge is above that of the lower one about as often as below it."""
    edges = [np.asarray(render_photograph(number), float)[[0, -1]].mean((1, 2)) for number in range(60)]
    assert 15 < sum(above > below for above, below in edges) < 45
