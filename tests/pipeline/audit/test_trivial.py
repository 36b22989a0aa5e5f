from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.audit.trivial import extended, measure_trivial
from unlabeled.pipeline.encode import encode_png
from unlabeled.pipeline.features import Features, image, value
from unlabeled.pipeline.task import Objective

from tests import planted
from tests.audited import trivial_of

FUTURE = Features.of(
    context_frames=image("seen", shape=(2,)), target_frames=image("to come", shape=(2,), role="label")
)


def _still(level: int, rng: np.random.Generator | None = None) -> dict[str, bytes]:
    pixels = np.full((16, 16, 3), level) if rng is None else rng.integers(0, 255, (16, 16, 3))
    return {"bytes": encode_png(pixels.astype(np.uint8))}


def test_copying_the_last_frame_solves_a_static_film_and_no_noise() -> None:
    rng = np.random.default_rng(0)
    first = _still(0, rng)
    static = {"context_frames": [first, first], "target_frames": [first, first]}
    moving = {"context_frames": [first, _still(0, rng)], "target_frames": [_still(0, rng)] * 2}
    assert measure_trivial(FUTURE, Objective.FRAME_PREDICTION, static)["copy_last"][2] == 1
    error, spread, solved = measure_trivial(FUTURE, Objective.FRAME_PREDICTION, moving)["copy_last"]
    assert (error > spread, solved) == (True, 0)


def test_a_plane_is_extended_into_its_hole_exactly() -> None:
    plane = np.tile(np.arange(20.0), (20, 1))
    hidden = np.zeros((20, 20), bool)
    hidden[8:12, 8:12] = True
    filled = extended(np.where(hidden, np.nan_to_num(np.nan), plane), hidden)
    assert np.abs(filled - plane)[hidden].max() < 2
    assert (filled == plane)[~hidden].all()


def test_copied_tokens_are_counted() -> None:
    features = Features.of(
        input_ids=value("int32", "input", "ids", shape=(5,)), labels=value("int32", "label", "labels", shape=(5,))
    )
    row = {"input_ids": [7, 99, 7, 99, 3], "labels": [-100, 7, -100, 5, -100]}
    told = measure_trivial(features, Objective.TOKEN_PREDICTION, row)
    assert told["copy_before"] == (1, 2, 0)


def test_other_tasks_have_none() -> None:
    assert measure_trivial(FUTURE, Objective.CLASSIFICATION, {}) == {}


@pytest.mark.parametrize(
    ("task", "predictors"),
    [
        ("image_inpainting", {"mean", "border"}),
        ("image_masked_patches", {"mean", "border"}),
        ("image_colorization", {"mean", "grey"}),
    ],
)
def test_masked_pictures_are_not_solved_by_what_learnt_nothing(
    task: str, predictors: set[str], tmp_path: Path
) -> None:
    sizes = {"image_inpainting": {"side_px": 64, "hole_px": 32, "cell_px": 16}}.get(task, {"side_px": 64})
    found = trivial_of(planted.build(task, planted.photographs(tmp_path / "in", 14), tmp_path / "out", **sizes))
    assert set(found) == predictors
    assert all(one.verdict in ("pass", "inconclusive") and one.skill < 0.9 for one in found.values())


def test_masked_sound_is_judged_on_its_spectrogram(tmp_path: Path) -> None:
    found = trivial_of(planted.build("audio_masked_spectrogram", planted.sounds(tmp_path / "in"), tmp_path / "out"))
    assert set(found) == {"mean", "border"}
