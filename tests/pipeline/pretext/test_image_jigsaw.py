from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError, CorruptData, Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_jigsaw import ASSET, ImageJigsaw, max_hamming_permutations
from unlabeled.pipeline.rng import ItemRng, sha256_hex

from tests.samples import image_item

ITEM = image_item(0)


def rows(task: ImageJigsaw, seed: int = 0, item: Image = ITEM) -> list[dict[str, Any]]:
    return [dict(example.values) for example in task.examples(item, ItemRng(seed, "image_jigsaw", "a"))]


@pytest.mark.parametrize("count", [24, 100, 1000])
def test_permutations_differ_in_many_places_and_use_every_tile_alike(count: int) -> None:
    found = max_hamming_permutations(9, count)
    distances = (found[:, None] != found).sum(axis=-1) + 9 * np.eye(count, dtype=int)
    assert (np.sort(found, axis=1) == np.arange(9)).all()
    assert distances.min() >= {24: 7, 100: 6, 1000: 5}[count]
    assert not (found == np.arange(9)).all(axis=1).any()
    share = np.array([[(found[:, place] == tile).mean() for tile in range(9)] for place in range(9)])
    assert np.abs(share - 1 / 9).max() < 0.05


def test_more_permutations_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="3 places have 5 permutations"):
        max_hamming_permutations(3, 6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_permutation_inverts_to_the_picture(seed: int) -> None:
    (row,) = rows(ImageJigsaw(channel_shift_px=0, gray_fraction=0), seed)
    canvas = ITEM.crop(row["crop_box"], 255, 255)
    place_of_cell = np.argsort(row["permutation"])
    for cell, place in enumerate(place_of_cell):
        top = 85 * (cell // 3) + row["offset_y_px"][place]
        left = 85 * (cell % 3) + row["offset_x_px"][place]
        assert np.array_equal(row["tiles"][place], canvas[top : top + 64, left : left + 64])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_label_is_the_permutations_place_in_the_set_and_tiles_are_apart(seed: int) -> None:
    task = ImageJigsaw()
    (row,) = rows(task, seed)
    assert task.permutations[row["label"]].tolist() == row["permutation"]
    offset = np.empty((3, 3, 2), int)
    for place, cell in enumerate(row["permutation"]):
        offset[cell // 3, cell % 3] = row["offset_y_px"][place], row["offset_x_px"][place]
    assert offset.min() >= 4
    assert offset.max() <= 17
    begin = offset + 85 * np.stack(np.indices((3, 3)), axis=-1)
    assert (np.diff(begin[..., 0], axis=0) - 64 >= row["min_gap_px"]).all()
    assert (np.diff(begin[..., 1], axis=1) - 64 >= row["min_gap_px"]).all()


def test_two_thirds_of_the_puzzles_are_gray() -> None:
    made = [rows(ImageJigsaw(), seed)[0] for seed in range(60)]
    gray = [row for row in made if row["color_mode"] == "gray"]
    assert 0.45 < len(gray) / len(made) < 0.85
    assert all((tile == tile[..., :1]).all() for row in gray for tile in row["tiles"])


def test_channels_of_coloured_puzzles_are_shifted_within_the_margin() -> None:
    (row,) = rows(ImageJigsaw(gray_fraction=0), 1)
    (plain,) = rows(ImageJigsaw(gray_fraction=0, channel_shift_px=0), 1)
    assert any(not np.array_equal(one, other) for one, other in zip(row["tiles"], plain["tiles"], strict=True))
    canvas = ITEM.crop(row["crop_box"], 255, 255)
    cell = row["permutation"][0]
    inside = canvas[85 * (cell // 3) + 4 :, 85 * (cell % 3) + 4 :][:77, :77]
    for channel in range(3):
        windows = np.lib.stride_tricks.sliding_window_view(inside[..., channel], (64, 64))
        assert (windows == row["tiles"][0][..., channel]).all(axis=(2, 3)).any()


def test_several_puzzles_of_a_picture_have_different_permutations() -> None:
    labels = [row["label"] for row in rows(ImageJigsaw(puzzles=20))]
    assert len(set(labels)) == 20


def test_the_set_is_frozen_as_an_asset_that_the_row_names() -> None:
    task = ImageJigsaw(num_permutations=24)
    assets = task.make_assets(list)
    (row,) = rows(task)
    assert row["perm_set_sha256"] == sha256_hex(assets[ASSET])
    reversed_set = b"".join(reversed(assets[ASSET].splitlines(keepends=True)))
    bound = task.with_assets({ASSET: reversed_set})
    assert bound == task
    (other,) = rows(bound)
    assert other["label"] == row["label"]
    assert other["permutation"] == task.permutations[23 - row["label"]].tolist()
    assert other["perm_set_sha256"] == sha256_hex(reversed_set)


@pytest.mark.parametrize("broken", [b"012345678\n", b"012345677\n" * 100])
def test_a_broken_set_is_refused(broken: bytes) -> None:
    with pytest.raises(CorruptData, match="is not 100 permutations of 9 tiles"):
        ImageJigsaw().with_assets({ASSET: broken})


def test_exchanged_tiles_are_noticed_when_the_row_is_rederived() -> None:
    task = ImageJigsaw()
    (row,) = rows(task)
    assert task.rederive(row, ITEM)["label"] == row["label"]
    row["tiles"] = np.roll(row["tiles"], -1, axis=0)
    row["offset_x_px"] = row["offset_x_px"][1:] + row["offset_x_px"][:1]
    row["offset_y_px"] = row["offset_y_px"][1:] + row["offset_y_px"][:1]
    assert task.rederive(row, ITEM)["permutation"] != row["permutation"]


def test_flat_and_small_pictures_are_filtered() -> None:
    flat = Image(media_kind="image", codec="png", pixels=np.full((300, 300, 3), 99, np.uint8))
    with pytest.raises(Filtered, match="flat"):
        rows(ImageJigsaw(), item=flat)
    with pytest.raises(Filtered, match="too_small"):
        rows(ImageJigsaw(), item=image_item(0, 120, 300))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"cell_px": 70}, "`cell_px` must be at least"), ({"puzzles": 30, "num_permutations": 24}, "`puzzles` must be")],
)
def test_tiles_that_do_not_fit_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageJigsaw(**wrong)
