from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.patches import coarsen_color
from unlabeled.pipeline.pretext.image_rotation import ImageRotation, turn_difference
from unlabeled.pipeline.rng import ItemRng

from tests import samples

TASK = ImageRotation(side_px=64)


def rng(key: str = "a.jpg") -> ItemRng:
    return ItemRng(seed=0, task="image_rotation", source_key=key)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.integers(64, 200), st.integers(64, 200))
def test_turning_back_by_the_label_gives_the_crop(seed: int, width_px: int, height_px: int) -> None:
    item = samples.image_item(seed, width_px, height_px)
    for example in dataclasses.replace(TASK, color_px=1).examples(item, rng()):
        upright = item.crop(example.values["crop_box"], 64, 64)
        assert np.array_equal(np.rot90(example.values["image"], -example.values["label"]), upright)
        assert example.values["angle_deg"] == 90 * example.values["label"]


def test_all_turns_are_of_one_picture_whose_colour_is_coarse() -> None:
    item = samples.image_item(2, 96, 80)
    for example in TASK.examples(item, rng()):
        upright = coarsen_color(item.crop(example.values["crop_box"], 64, 64), 2)
        assert np.array_equal(np.rot90(example.values["image"], -example.values["label"]), upright)


def test_all_four_turns_come_once() -> None:
    labels = [example.values["label"] for example in TASK.examples(samples.image_item(), rng())]
    assert sorted(labels) == [0, 1, 2, 3]


def test_one_turn_is_drawn_by_key_and_covers_all_classes() -> None:
    task = dataclasses.replace(TASK, turns="one")
    drawn = [next(task.examples(samples.image_item(), rng(str(key)))).values["label"] for key in range(40)]
    assert set(drawn) == {0, 1, 2, 3}
    assert (task.batching, task.bundle_size) == ("any", 1)


def test_the_crop_is_square_central_and_inside() -> None:
    x, y, width, height = next(TASK.examples(samples.image_item(0, 480, 360), rng())).values["crop_box"]
    assert (width, height) == (315, 315)
    assert (x, y) == (82, 22)


def test_random_crops_lie_inside_and_differ_by_source() -> None:
    task = dataclasses.replace(TASK, crop="random")
    boxes = {next(task.examples(samples.image_item(), rng(str(key)))).values["crop_box"] for key in range(8)}
    assert len(boxes) > 4
    assert all(x >= 0 and y >= 0 and x + w <= 480 and y + h <= 360 for x, y, w, h in boxes)


def test_a_picture_of_just_the_side_is_not_resampled() -> None:
    item = samples.image_item(3, 64, 80)
    example = next(TASK.examples(item, rng()))
    assert example.values["crop_box"][2:] == (64, 64)


def test_small_pictures_are_filtered_unless_allowed() -> None:
    with pytest.raises(Filtered, match="too_small"):
        next(TASK.examples(samples.image_item(0, 63, 200), rng()))
    allowed = dataclasses.replace(TASK, upscale="allow")
    assert next(allowed.examples(samples.image_item(0, 63, 200), rng())).values["image"].shape == (64, 64, 3)


def disc(side_px: int) -> np.ndarray:
    rows, columns = np.indices((side_px, side_px)) - (side_px - 1) / 2
    return np.repeat((255 * (np.hypot(rows, columns) < side_px / 3)).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("pixels", [np.full((80, 80, 3), 200, np.uint8), disc(80)], ids=["blank", "round"])
def test_pictures_without_an_upright_are_filtered_unless_allowed(pixels: np.ndarray) -> None:
    item = Image(media_kind="image", codec="png", pixels=pixels)
    with pytest.raises(Filtered, match="no_orientation"):
        next(TASK.examples(item, rng()))
    assert len(list(dataclasses.replace(TASK, min_turn_difference=0).examples(item, rng()))) == 4


@pytest.mark.parametrize("side_px", [16, 32, 224, 1024])
def test_a_gradient_differs_from_its_turns_alike_at_any_size(side_px: int) -> None:
    levels = np.linspace(0, 255, side_px).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None], (side_px, side_px, 3))
    # Of |x - y| and of |x - (1 - x)|, uniform in [0, 1]: a third and a half.
    assert turn_difference(pixels) == pytest.approx(255 / 3, rel=0.1)


def test_a_side_that_leaves_a_jpeg_grid_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        ImageRotation(side_px=100)


@pytest.mark.parametrize("crop", ["center", "random"])
def test_the_crop_said_beforehand_is_the_one_that_is_taken(crop: str) -> None:
    task = dataclasses.replace(TASK, crop=crop)
    taken = next(task.examples(samples.image_item(0, 480, 360), rng())).values["crop_box"]
    assert task.square_crop(rng()).box(480, 360) == taken
