from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline import transforms
from unlabeled.pipeline.transforms import MaskStrategy

from tests.samples import photograph

STRATEGIES: tuple[MaskStrategy, ...] = ("random", "block", "free_form")


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_a_packed_mask_is_unpacked(seed: int, rows: int, columns: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    assert np.array_equal(transforms.unpack_mask(transforms.pack_mask(mask), mask.shape), mask)


def test_the_first_place_is_the_lowest_bit() -> None:
    assert transforms.pack_mask(np.array([[True, False], [False, True]])) == bytes([0b1001])


def test_bits_of_another_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 bytes, but has 1"):
        transforms.unpack_mask(b"\0", (3, 3))


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(st.integers(0, 2**32), st.integers(2, 20), st.integers(2, 20), st.floats(0, 1))
@settings(max_examples=40)
def test_a_mask_hides_exactly_as_many_places_as_asked(
    strategy: MaskStrategy, seed: int, rows: int, columns: int, ratio: float
) -> None:
    num_hidden = int(ratio * rows * columns)
    mask = transforms.draw_mask(strategy, transforms.mask_generator(seed), (rows, columns), num_hidden)
    assert mask.shape == (rows, columns)
    assert mask.sum() == num_hidden


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 6))
def test_a_unit_mask_hides_whole_squares(seed: int, unit: int, side: int) -> None:
    shape = (unit * side, unit * side)
    mask = transforms.draw_mask("unit", transforms.mask_generator(seed), shape, side * side * unit * unit // 2, unit)
    coarse = mask[::unit, ::unit]
    assert np.array_equal(transforms.expand_mask(coarse, unit), mask)
    assert abs(int(coarse.sum()) - side * side / 2) <= 1


def test_units_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="14 x 14"):
        transforms.unit_mask(transforms.mask_generator(0), (14, 14), 60, 4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_masks_change_with_the_epoch_and_come_again(strategy: MaskStrategy) -> None:
    masks = [transforms.draw_mask(strategy, transforms.mask_generator(7, epoch), (14, 14), 100) for epoch in (0, 1, 0)]
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_place_is_hidden_about_as_often(strategy: MaskStrategy) -> None:
    drawn = [transforms.draw_mask(strategy, transforms.mask_generator(seed), (8, 8), 24) for seed in range(400)]
    share = np.mean(drawn, axis=0)
    # Rectangles that must fit cover the border less often; nothing is never hidden.
    assert share.min() > (0.1 if strategy == "block" else 0.25)
    assert share.max() < (0.75 if strategy == "block" else 0.6)


def test_blocks_and_blobs_hang_together_more_than_single_places() -> None:
    def neighbours(strategy: MaskStrategy) -> float:
        masks = [transforms.draw_mask(strategy, transforms.mask_generator(s), (14, 14), 78) for s in range(30)]
        return float(np.mean([(mask[:, 1:] & mask[:, :-1]).sum() for mask in masks]))

    assert neighbours("block") > 1.5 * neighbours("random")
    assert neighbours("free_form") > 1.3 * neighbours("random")


def test_the_central_hole_is_central() -> None:
    mask = transforms.centre_mask((8, 8), 4)
    assert mask[2:6, 2:6].all()
    assert mask.sum() == 16


def test_the_fill_tells_nothing_of_the_hidden_pixels() -> None:
    pixels = photograph(1, 64, 64)
    hidden = transforms.expand_mask(transforms.centre_mask((4, 4), 2), 16)
    other = pixels.copy()
    other[hidden] = 255
    assert np.array_equal(transforms.visible_mean_rgb(pixels, hidden), transforms.visible_mean_rgb(other, hidden))
    assert np.array_equal(
        transforms.visible_mean_rgb(pixels, hidden), np.rint(pixels[~hidden].mean(axis=0)).astype(np.uint8)
    )


def test_only_hidden_pixels_are_filled() -> None:
    pixels = photograph(2, 32, 32)
    hidden = transforms.expand_mask(transforms.centre_mask((4, 4), 2), 8)
    filled = transforms.fill_hidden(pixels, hidden, (1, 2, 3))
    assert (filled[hidden] == (1, 2, 3)).all()
    assert np.array_equal(filled[~hidden], pixels[~hidden])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_tiles_are_joined_to_the_picture(rows: int, columns: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (rows * height, columns * width, 3), dtype=np.uint8)
    tiles = transforms.split_tiles(pixels, rows, columns)
    assert tiles.shape == (rows * columns, height, width, 3)
    assert np.array_equal(tiles[columns - 1], pixels[:height, -width:])
    assert np.array_equal(transforms.join_tiles(tiles, rows, columns), pixels)


def test_standardized_patches_have_one_brightness_and_contrast() -> None:
    patches = np.stack([photograph(3, 32, 32), photograph(3, 32, 32) // 3 + 90])
    one, other = transforms.standardize(patches)
    assert one.mean() == pytest.approx(0, abs=1e-4)
    assert one.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(one - other).mean() < 0.02


def test_lab_of_known_colours() -> None:
    # Published CIE Lab values (D65) of white, red, green, blue and a middle grey of sRGB.
    colours = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [119, 119, 119]], np.uint8)
    known = [[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [50.03, 0, 0]]
    assert np.abs(transforms.rgb_to_lab(colours) - known).max() < 0.01


def test_every_colour_falls_into_its_own_bin() -> None:
    bins = transforms.ab_bins()
    assert bins.shape == (261, 2)
    colours = np.random.default_rng(0).integers(0, 256, (20000, 3), dtype=np.uint8)
    ab = transforms.rgb_to_lab(colours)[:, 1:]
    assert np.abs(ab - bins[transforms.quantize_ab(ab, bins)]).max() <= transforms.AB_STEP / 2 + 1e-3


@given(st.integers(-11, 11), st.integers(-11, 11))
def test_a_square_that_holds_no_colour_goes_to_the_nearest_that_does(step_a: int, step_b: int) -> None:
    bins = transforms.ab_bins().astype(int)
    ab = np.array([10 * step_a, 10 * step_b])
    found = bins[transforms.quantize_ab(ab.astype(np.float32), transforms.ab_bins())]
    assert ((found - ab) ** 2).sum() == ((bins - ab) ** 2).sum(axis=1).min()


def test_colorization_sees_the_lightness_and_predicts_chroma_at_half_size() -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[..., 0] = 255
    lightness, target = transforms.colorization_target(pixels, transforms.ab_bins())
    assert lightness.shape == (6, 8)
    assert np.allclose(lightness, 53.24, atol=0.01)
    assert target.shape == (3, 4)
    assert transforms.ab_bins()[target[0, 0]].tolist() == [80, 70]


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30).filter(any))
def test_rare_colours_weigh_more_and_the_mean_weight_is_one(counts: list[int]) -> None:
    array = np.array(counts)
    weights = transforms.rebalanced_weights(array)
    assert np.isclose((array / array.sum()) @ weights, 1, atol=1e-4)
    assert weights[array.argmin()] >= weights[array.argmax()]


def test_luma_of_known_colours() -> None:
    colours = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]], np.uint8)
    assert transforms.luma(colours).tolist() == [255, 77, 149, 29, 0]


def test_gray_leaves_equal_channels() -> None:
    gray = transforms.drop_color(photograph(1, 64, 64), "gray")
    assert (gray[..., 0] == gray[..., 1]).all()
    assert (gray[..., 0] == gray[..., 2]).all()
    assert gray.std() > 5


@pytest.mark.parametrize("mode", transforms.CHANNELS)
def test_one_channel_tells_nothing_of_the_others(mode: transforms.ColorMode) -> None:
    picture = photograph(2, 32, 32)
    kept = transforms.CHANNELS.index(mode)
    other = picture.copy()
    other[..., [channel for channel in range(3) if channel != kept]] = 0
    dropped = transforms.drop_color(picture, mode)
    assert np.array_equal(dropped, transforms.drop_color(other, mode))
    assert np.array_equal(dropped[..., kept], picture[..., kept])


def test_tiles_are_cut_channel_by_channel() -> None:
    picture = photograph(4, 20, 16)
    top, left = [0, 1, 2, 8, 8, 8], [3, 4, 5, 0, 0, 0]
    tiles = transforms.cut_tiles(picture, top, left, "color", tile_px=8)
    assert tiles.shape == (2, 8, 8, 3)
    assert np.array_equal(tiles[0, ..., 1], picture[1:9, 4:12, 1])
    assert np.array_equal(tiles[1], picture[8:16, 0:8])
    assert np.ptp(transforms.cut_tiles(picture, top, left, "gray", tile_px=8)[1], axis=-1).max() == 0
