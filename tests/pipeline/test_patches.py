from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline import patches, transforms
from unlabeled.pipeline.errors import Filtered

from tests.samples import image_item, photograph


def test_small_tiles_are_stored_without_loss() -> None:
    assert [patches.tile_encoding(side_px) for side_px in (32, 96, 112, 224)] == ["png", "png", "jpeg", "jpeg"]


@pytest.mark.parametrize(("needed_px", "max_upscale", "fits"), [(360, 1, True), (361, 1, False), (720, 2, True)])
def test_the_short_side_must_suffice(needed_px: int, max_upscale: float, fits: bool) -> None:
    item = image_item(0, 480, 360)
    if fits:
        patches.require_size(item, needed_px, max_upscale)
    else:
        with pytest.raises(Filtered, match="too_small"):
            patches.require_size(item, needed_px, max_upscale)


@given(
    st.integers(0, 50), st.integers(0, 50), st.integers(40, 900), st.integers(10, 400), st.integers(0, 300), st.data()
)
def test_a_canvas_box_stays_inside_its_crop(
    left: int, top: int, crop_px: int, canvas_px: int, x: int, data: st.DataObject
) -> None:
    x = min(x, canvas_px - 1)
    width = data.draw(st.integers(1, canvas_px - x))
    found = patches.to_source((left, top, crop_px, crop_px), canvas_px, (x, x, width, width))
    assert left <= found[0] <= found[0] + found[2] <= left + crop_px
    assert top <= found[1] <= found[1] + found[3] <= top + crop_px
    assert found[2] == pytest.approx(width * crop_px / canvas_px, abs=1)


def test_a_flat_picture_has_no_deviation() -> None:
    assert patches.luma_std(np.full((32, 32, 3), 90, np.uint8)) == 0
    assert patches.luma_std(photograph(0, 64, 64)) > 10


def test_lower_resolution_keeps_shape_and_loses_detail() -> None:
    picture = photograph(3, 96, 96)
    low = patches.lower_resolution(picture, 12)
    assert low.shape == picture.shape
    assert np.abs(np.diff(low.astype(int), axis=1)).mean() < 0.5 * np.abs(np.diff(picture.astype(int), axis=1)).mean()


@given(st.integers(0, 1000), st.integers(4, 200))
def test_resolutions_are_below_the_patch(seed: int, side_px: int) -> None:
    drawn = patches.draw_resolution(np.random.default_rng(seed), side_px)
    assert 2 <= drawn < max(3, side_px)


@pytest.mark.parametrize("mode", ["color", "gray", "green"])
def test_a_patch_shows_what_it_was_cut_from(mode: transforms.ColorMode) -> None:
    candidates = [photograph(seed, 64, 64) for seed in range(4)]
    patch = transforms.drop_color(patches.lower_resolution(candidates[2], 16), mode)
    assert patches.shown_by(patch, candidates, 2, mode) == 2
    assert patches.shown_by(patch, candidates, 0, mode) == 2


def test_flat_patches_cannot_contradict() -> None:
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert patches.shown_by(flat, [flat, flat + np.uint8(2), photograph(0, 32, 32)], 1, "color") == 1
