from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_masked_patches import ImageMaskedPatches
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.transforms import draw_mask, mask_generator, split_tiles, unpack_mask

from tests.samples import image_item

ITEM = image_item(0)


def row_of(task: ImageMaskedPatches, seed: int = 0, item: Image = ITEM) -> dict[str, Any]:
    (example,) = task.examples(item, ItemRng(seed, "image_masked_patches", "a"))
    return dict(example.values)


@pytest.mark.parametrize(
    ("settings_", "strategy", "num_masked"),
    [
        ({}, "random", 147),
        ({"mask_strategy": "block", "mask_ratio": 0.4}, "block", 78),
        ({"mask_strategy": "unit", "mask_ratio": 0.6}, "unit32", 120),
    ],
)
def test_published_masks(settings_: dict[str, Any], strategy: str, num_masked: int) -> None:
    row = row_of(ImageMaskedPatches(**settings_))
    mask = unpack_mask(row["mask_bits"], (row["grid_h"], row["grid_w"]))
    assert (row["grid_h"], row["grid_w"], row["patch_px"]) == (14, 14, 16)
    assert mask.sum() == row["num_masked"] == num_masked
    assert row["mask_ratio"] == pytest.approx(num_masked / 196)
    assert row["mask_strategy"] == strategy


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_bits_select_exactly_the_hidden_patches(seed: int) -> None:
    row = row_of(ImageMaskedPatches(), seed)
    mask = unpack_mask(row["mask_bits"], (14, 14))
    patches = split_tiles(row["image"], 14, 14)
    for number in range(196):
        top, left = 16 * (number // 14), 16 * (number % 14)
        assert np.array_equal(patches[number], row["image"][top : top + 16, left : left + 16])
        bit = row["mask_bits"][number // 8] >> (number % 8) & 1
        assert bool(bit) == mask[number // 14, number % 14]


def test_a_trainer_redraws_the_stored_mask_and_others() -> None:
    row = row_of(ImageMaskedPatches())
    masks = [draw_mask("random", mask_generator(row["mask_seed"], epoch), (14, 14), 147) for epoch in (0, 1)]
    assert np.array_equal(masks[0], unpack_mask(row["mask_bits"], (14, 14)))
    assert not np.array_equal(masks[0], masks[1])


def test_the_picture_is_stored_whole_from_its_box() -> None:
    row = row_of(ImageMaskedPatches(crop="random"), 3)
    assert np.array_equal(row["image"], ITEM.crop(row["crop_box"], 224, 224))


def test_pictures_of_bars_and_small_ones_are_filtered() -> None:
    barred = np.full((300, 300, 3), 255, np.uint8)
    barred[130:170] = image_item(0).pixels[:40, :300]
    with pytest.raises(Filtered, match="flat"):
        row_of(ImageMaskedPatches(), item=Image(media_kind="image", codec="png", pixels=barred))
    with pytest.raises(Filtered, match="too_small"):
        row_of(ImageMaskedPatches(), item=image_item(0, 200, 300))


def test_another_picture_is_noticed_when_the_row_is_rederived() -> None:
    row = row_of(ImageMaskedPatches())
    row["image"] = np.bitwise_not(row["image"])
    assert ImageMaskedPatches().rederive(row, ITEM) == {"num_masked": 0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patch_px": 15}, "`side_px` must be a multiple of `patch_px`, 15"),
        ({"mask_strategy": "unit", "unit_px": 24}, "`unit_px` must be a multiple of `patch_px`, 16"),
    ],
)
def test_patches_that_do_not_fill_the_square_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageMaskedPatches(**wrong)
