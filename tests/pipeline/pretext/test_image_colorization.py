from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.errors import CorruptData, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_colorization import ASSET, ImageColorization, chroma_std, saturation
from unlabeled.pipeline.rng import ItemRng, sha256_hex
from unlabeled.pipeline.transforms import ab_bins, colorization_target

from tests.samples import image_item, photograph

ITEM = image_item(0)


def picture(pixels: np.ndarray) -> Image:
    return Image(media_kind="image", codec="png", pixels=np.clip(pixels, 0, 255).astype(np.uint8))


def row_of(task: ImageColorization, item: Image = ITEM, seed: int = 0) -> dict[str, Any]:
    (example,) = task.examples(item, ItemRng(seed, "image_colorization", "a"))
    return dict(example.values)


def test_the_picture_is_stored_in_colour_from_its_box() -> None:
    row = row_of(ImageColorization(crop="random"))
    assert np.array_equal(row["image"], ITEM.crop(row["crop_box"], 224, 224))


def test_the_lightness_alone_does_not_tell_the_target() -> None:
    image = row_of(ImageColorization())["image"]
    lightness, target = colorization_target(image, ab_bins())
    assert lightness.shape == (224, 224)
    assert target.shape == (112, 112)
    dark = lightness[::2, ::2] < np.median(lightness)
    assert min(len(np.unique(target[dark])), len(np.unique(target[~dark]))) > 10


def test_saturation_of_known_colours() -> None:
    assert saturation(np.full((8, 8, 3), (255, 0, 0), np.uint8)) == 1
    assert saturation(np.full((8, 8, 3), 90, np.uint8)) == 0
    assert saturation(np.full((8, 8, 3), (100, 49, 60), np.uint8)) == pytest.approx(0.2)


def test_chroma_that_follows_from_lightness_does_not_deviate() -> None:
    gray = photograph(0).mean(axis=-1, keepdims=True)
    sepia = gray * np.array([1.0, 0.85, 0.6])
    assert chroma_std(picture(sepia).pixels) < 1
    assert chroma_std(photograph(0)) > 5


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.85, 0.6)])
def test_gray_and_sepia_pictures_are_filtered(tint: tuple[float, ...]) -> None:
    with pytest.raises(Filtered, match="gray"):
        row_of(ImageColorization(), picture(photograph(1).mean(axis=-1, keepdims=True) * np.array(tint)))


def test_small_pictures_are_filtered() -> None:
    with pytest.raises(Filtered, match="too_small"):
        row_of(ImageColorization(), image_item(0, 223, 400))


def test_the_bins_are_frozen_as_an_asset_that_the_row_names() -> None:
    assets = ImageColorization().make_assets(list)
    bound = ImageColorization().with_assets(assets)
    assert np.array_equal(bound.bins, ab_bins())
    assert row_of(bound)["bins_sha256"] == sha256_hex(assets[ASSET])
    fewer = ImageColorization().with_assets({ASSET: b"0,0\n10,-20\n"})
    assert fewer.bins.tolist() == [[0, 0], [10, -20]]
    assert row_of(fewer)["bins_sha256"] == sha256_hex(b"0,0\n10,-20\n")


@pytest.mark.parametrize("broken", [b"0;0\n", b"1,2\n3\n"])
def test_a_broken_list_of_bins_is_refused(broken: bytes) -> None:
    with pytest.raises(CorruptData, match=ASSET):
        ImageColorization().with_assets({ASSET: broken})


def test_another_picture_is_noticed_when_the_row_is_rederived() -> None:
    row = row_of(ImageColorization())
    gray = picture(np.repeat(ITEM.pixels.mean(axis=-1, keepdims=True), 3, axis=-1))
    assert ImageColorization().rederive(row, gray)["saturation"] != row["saturation"]
