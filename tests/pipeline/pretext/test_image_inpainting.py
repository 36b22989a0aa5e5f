from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_inpainting import ImageInpainting
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.transforms import expand_mask, free_form_mask, mask_generator, unpack_mask

from tests.samples import image_item

ITEM = image_item(0)


def rows(task: ImageInpainting, seed: int = 0, item: Image = ITEM) -> list[dict[str, Any]]:
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "image_inpainting", "a"))]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_holes_are_made_of_whole_cells_and_hide_the_share_that_is_stated(seed: int) -> None:
    for row in rows(ImageInpainting(), seed):
        hidden = unpack_mask(row["mask"], (128, 128))
        assert np.array_equal(hidden, expand_mask(hidden[::16, ::16], 16))
        assert hidden.mean() == row["hidden_fraction"] == 0.25


def test_one_central_hole_and_one_of_free_form() -> None:
    by_kind = {row["mask_kind"]: unpack_mask(row["mask"], (128, 128)) for row in rows(ImageInpainting())}
    assert set(by_kind) == {"centre", "free_form"}
    assert by_kind["centre"][32:96, 32:96].all()
    assert not np.array_equal(by_kind["free_form"], by_kind["centre"])


def test_the_picture_is_stored_whole_from_its_box() -> None:
    for row in rows(ImageInpainting()):
        assert np.array_equal(row["image"], ITEM.crop(row["crop_box"], 128, 128))


def test_the_fill_is_the_mean_of_what_is_visible() -> None:
    for row in rows(ImageInpainting()):
        visible = ~unpack_mask(row["mask"], (128, 128))
        assert np.abs(row["image"][visible].mean(axis=0) - row["fill_rgb"]).max() <= 0.51


def test_a_trainer_redraws_the_stored_mask_and_others() -> None:
    row = next(row for row in rows(ImageInpainting()) if row["mask_kind"] == "free_form")
    drawn = [
        expand_mask(free_form_mask(mask_generator(row["mask_seed"], epoch), (8, 8), 16), row["cell_px"])
        for epoch in (0, 1)
    ]
    assert np.array_equal(drawn[0], unpack_mask(row["mask"], (128, 128)))
    assert not np.array_equal(drawn[1], drawn[0])


def test_another_picture_is_noticed_when_the_row_is_rederived() -> None:
    row = rows(ImageInpainting())[0]
    assert ImageInpainting().rederive(row, image_item(5))["fill_rgb"] != row["fill_rgb"]


def test_flat_and_small_pictures_are_filtered() -> None:
    flat = Image(media_kind="image", codec="png", pixels=np.full((300, 300, 3), 99, np.uint8))
    with pytest.raises(Filtered, match="flat"):
        rows(ImageInpainting(), item=flat)
    with pytest.raises(Filtered, match="too_small"):
        rows(ImageInpainting(), item=image_item(0, 127, 200))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hole_px": 56}, "`hole_px` must leave whole cells of 16 px"),
        ({"side_px": 144, "cell_px": 32}, "`side_px` must be a multiple of `cell_px`, 32, but is 144"),
        ({"centre_holes": 0, "free_form_holes": 0}, "both 0"),
    ],
)
def test_holes_that_cut_cells_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageInpainting(**wrong)
