from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_relative_patch import CLASSES, ImageRelativePatch
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.transforms import CHANNELS

from tests.samples import image_item

ITEM = image_item(0)
#: Compass names to (right, down), written down a second time.
COMPASS = {"N": (0, -1), "S": (0, 1), "W": (-1, 0), "E": (1, 0)}


def rows(task: ImageRelativePatch, seed: int = 0, item: Image = ITEM) -> list[dict[str, Any]]:
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "image_relative_patch", "a"))]


def step_of(name: str) -> tuple[int, int]:
    return sum(COMPASS[letter][0] for letter in name), sum(COMPASS[letter][1] for letter in name)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_boxes_lie_in_the_direction_of_the_label_and_apart(seed: int) -> None:
    made = rows(ImageRelativePatch(), seed)
    assert sorted(row["label"] for row in made) == list(range(8))
    for row in made:
        scale = row["crop_box"][2] / 398
        right, down = step_of(CLASSES[row["label"]])
        # Boxes are rounded to px of the source.
        assert row["box_b"][0] - row["box_a"][0] == pytest.approx((144 * right + row["jitter_x_px"]) * scale, abs=1.01)
        assert row["box_b"][1] - row["box_a"][1] == pytest.approx((144 * down + row["jitter_y_px"]) * scale, abs=1.01)
        assert max(abs(row["jitter_x_px"]), abs(row["jitter_y_px"])) <= 7
        # 48 less 7 of jitter between the nearer edges, in the direction of at least one axis.
        gaps = [abs(row["box_b"][i] - row["box_a"][i]) - row["box_a"][2 + i] for i in (0, 1)]
        assert max(gaps) >= 41 * scale - 1.51  # three rounded numbers


def test_every_neighbour_lies_inside_the_picture() -> None:
    for row in rows(ImageRelativePatch(), 3):
        x, y, width, height = row["box_b"]
        assert 0 <= x <= x + width <= 480
        assert 0 <= y <= y + height <= 360


def test_the_centre_is_the_same_for_every_label() -> None:
    made = rows(ImageRelativePatch())
    assert len({row["box_a"] for row in made}) == 1
    plain = rows(ImageRelativePatch(color="keep", resample_fraction=0))
    assert all(np.array_equal(row["patch_a"], plain[0]["patch_a"]) for row in plain)


def test_patches_show_what_their_boxes_say() -> None:
    for row in rows(ImageRelativePatch(color="keep", resample_fraction=0)):
        cut = ITEM.crop(row["box_b"], 96, 96).astype(int)
        assert np.abs(cut - row["patch_b"]).mean() < 8


def test_one_channel_is_left_of_every_patch() -> None:
    for row in rows(ImageRelativePatch()):
        for patch, mode in zip((row["patch_a"], row["patch_b"]), row["color_mode"], strict=True):
            others = [channel for channel in range(3) if CHANNELS[channel] != mode]
            assert len(others) == 2
            assert (patch[..., others] == 128).all()


@pytest.mark.parametrize(("color", "modes"), [("gray", {"gray"}), ("keep", {"color"})])
def test_colour_may_be_dropped_otherwise_or_kept(color: Any, modes: set[str]) -> None:
    assert {mode for row in rows(ImageRelativePatch(color=color)) for mode in row["color_mode"]} == modes


def test_a_third_of_the_patches_has_a_lower_resolution() -> None:
    sides = [side for seed in range(20) for row in rows(ImageRelativePatch(), seed) for side in row["resampled_px"]]
    assert 0.25 < np.mean([side > 0 for side in sides]) < 0.42
    assert 10 <= min(side for side in sides if side) <= max(sides) <= 95


def test_one_pair_a_source_where_asked_for() -> None:
    labels = [rows(ImageRelativePatch(pairs="one"), seed)[0]["label"] for seed in range(60)]
    assert set(labels) == set(range(8))


@pytest.mark.parametrize("resample_fraction", [0.0, 1.0])
def test_a_wrong_label_is_noticed_when_the_row_is_rederived(resample_fraction: float) -> None:
    task = ImageRelativePatch(resample_fraction=resample_fraction)
    made = rows(task)
    patches = {row["label"]: row["patch_b"] for row in made}
    row = next(row for row in made if CLASSES[row["label"]] == "NW")
    row["patch_b"], row["color_mode"] = patches[CLASSES.index("SE")], made[0]["color_mode"]
    exchanged = next(other for other in made if CLASSES[other["label"]] == "SE")
    row["color_mode"] = exchanged["color_mode"]
    assert CLASSES[task.rederive(row, ITEM)["label"]] == "SE"


def test_flat_and_small_pictures_are_filtered() -> None:
    flat = Image(media_kind="image", codec="png", pixels=np.full((400, 400, 3), 99, np.uint8))
    with pytest.raises(Filtered, match="flat"):
        rows(ImageRelativePatch(), item=flat)
    with pytest.raises(Filtered, match="too_small"):
        rows(ImageRelativePatch(), item=image_item(0, 190, 300))


def test_jitter_wider_than_the_gap_is_refused() -> None:
    with pytest.raises(ConfigError, match="`jitter_px` must be at most `gap_px`, 4, but is 7"):
        ImageRelativePatch(gap_px=4)
