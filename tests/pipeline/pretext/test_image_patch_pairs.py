from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_patch_pairs import ImagePatchPairs, add_noise, iou, recolor, recompress
from unlabeled.pipeline.rng import ItemRng

from tests.samples import landscape_item, photograph

ITEM = landscape_item(0)
PROXIES = ("same_segment", "same_image_adjacent")


def rng_of(seed: int, key: str = "a") -> ItemRng:
    return ItemRng(seed, "image_patch_pairs", key)


def rows(task: ImagePatchPairs, seed: int = 0, item: Image = ITEM) -> list[dict[str, Any]]:
    partners = [task.offer(landscape_item(100 + seed % 5), rng_of(seed, "b"))] if task.num_partners else []
    return [dict(example.values) for example in task.examples(item, rng_of(seed), partners)]


@pytest.mark.parametrize("proxy", PROXIES)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_two_pairs_of_each_class_of_patches_that_never_touch(proxy: Any, seed: int) -> None:
    made = rows(ImagePatchPairs(proxy=proxy, min_std=0), seed)
    assert Counter(row["relation"] for row in made) == {proxy: 2, "same_image_other": 1, "different_image": 1}
    for row in made:
        assert row["label"] == (row["relation"] == proxy)
        if row["relation"] == "different_image":
            assert (row["source_key_b"], row["iou"], row["distance_px"]) == ("b", 0, -1)
            continue
        assert row["source_key_b"] == ""
        assert row["iou"] == iou(row["box_a"], row["box_b"]) == 0
        gaps = [abs(row["box_a"][i] - row["box_b"][i]) - row["box_a"][2] for i in (0, 1)]
        assert max(gaps) >= 1


def test_no_patch_of_the_source_tells_the_label_by_itself() -> None:
    labels: dict[Any, set[int]] = {}
    for row in rows(ImagePatchPairs(negatives="same_image"), 1):
        labels.setdefault(row["box_a"], set()).add(row["label"])
        labels.setdefault(row["box_b"], set()).add(row["label"])
    assert len(labels) == 4
    assert all(found == {0, 1} for found in labels.values())


def test_pairs_of_one_segment_lie_in_one_and_others_do_not() -> None:
    split = np.full((360, 480, 3), (60, 120, 40), np.uint8)
    split[:, 240:] = (180, 90, 160)
    noisy = np.clip(split + np.random.default_rng(0).normal(0, 12, (360, 480, 1)), 0, 255).astype(np.uint8)
    item = Image(media_kind="image", codec="png", pixels=noisy)
    for row in rows(ImagePatchPairs(negatives="same_image", segment_scale=2000), 3, item):
        sides = [(box[0] + box[2] / 2) > 240 for box in (row["box_a"], row["box_b"])]
        assert row["label"] == (sides[0] == sides[1])


def test_adjacent_pairs_are_near_and_the_others_far() -> None:
    for seed in range(5):
        for row in rows(ImagePatchPairs(proxy="same_image_adjacent"), seed):
            if row["relation"] != "different_image":
                near = row["distance_px"] < 1.8 * row["box_a"][2]
                far = row["distance_px"] > 2.4 * row["box_a"][2]
                assert (near, far) == (row["label"] == 1, row["label"] == 0)


def test_the_proxy_stands_in_class_names_and_no_object_is_claimed() -> None:
    for proxy in PROXIES:
        classes = ImagePatchPairs(proxy=proxy).features()["label"].classes
        assert classes == (f"not_{proxy}", proxy)
    assert rows(ImagePatchPairs())[0]["segmenter"]
    assert rows(ImagePatchPairs(proxy="same_image_adjacent"))[0]["segmenter"] == ""


def test_negatives_of_one_picture_only_need_no_partner() -> None:
    task = ImagePatchPairs(negatives="same_image")
    assert task.num_partners == 0
    assert {row["relation"] for row in rows(task)} == {"same_segment", "same_image_other"}
    with pytest.raises(Filtered, match="no_partner"):
        list(ImagePatchPairs().examples(ITEM, rng_of(0), []))


def test_what_is_lent_is_a_patch_the_source_uses_too() -> None:
    task = ImagePatchPairs(negatives="same_image")
    offer = task.offer(ITEM, rng_of(2))
    assert offer.place in {box for row in rows(task, 2) for box in (row["box_a"], row["box_b"])}
    assert np.array_equal(offer.pixels, ITEM.crop(offer.place, 96, 96))


def test_recoloured_patches_have_one_histogram_up_to_mean_and_deviation() -> None:
    def standard(seed: int, picture: np.ndarray) -> np.ndarray:
        patch = recolor(picture, np.random.default_rng(seed)).astype(float)
        deciles = np.quantile(patch, np.linspace(0.1, 0.9, 9), axis=(0, 1))
        return np.asarray((deciles - deciles[4]) / (deciles[8] - deciles[0]))

    dark, light = photograph(4, 96, 96) // 4, 255 - photograph(9, 96, 96) // 3
    assert np.abs(standard(0, dark) - standard(1, light)).max() < 0.1


def test_recolouring_keeps_the_order_of_levels() -> None:
    picture = photograph(5, 64, 64)
    changed = recolor(picture, np.random.default_rng(0))
    for channel in range(3):
        order = np.argsort(picture[..., channel], axis=None, kind="stable")
        assert (np.diff(changed[..., channel].ravel()[order].astype(int)) >= 0).all()


def test_patches_of_one_box_are_altered_each_on_its_own() -> None:
    by_box: dict[Any, list[np.ndarray]] = {}
    for row in rows(ImagePatchPairs(negatives="same_image")):
        by_box.setdefault(row["box_a"], []).append(row["patch_a"])
    assert all(np.abs(one.astype(int) - other).mean() > 4 for one, other in by_box.values())


def test_noise_has_the_deviation_asked_for_and_no_colour() -> None:
    grey = np.full((96, 96, 3), 128, np.uint8)
    noisy = add_noise(grey, 9.0, np.random.default_rng(0)).astype(int) - 128
    assert noisy.std() == pytest.approx(9, rel=0.05)
    assert (noisy[..., 0] == noisy[..., 2]).all()
    assert np.array_equal(add_noise(grey, 0, np.random.default_rng(0)), grey)


def test_compression_changes_pixels_but_little() -> None:
    picture = photograph(6, 96, 96)
    changed = np.abs(recompress(picture, 60).astype(int) - picture).mean()
    assert 0.5 < changed < 12


def test_exchanged_boxes_are_noticed_when_the_row_is_rederived() -> None:
    task = ImagePatchPairs(negatives="same_image")
    made = rows(task, 1)
    positive = next(row for row in made if row["label"] == 1)
    negative = next(row for row in made if row["label"] == 0)
    positive["box_a"], positive["box_b"] = negative["box_a"], negative["box_b"]
    assert task.rederive(positive, ITEM) == {"label": 0, "relation": "same_image_other"}


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((400, 400, 3), 99, np.uint8), "no_pair"),
        (photograph(0, 180, 400), "too_small"),
    ],
)
def test_pictures_without_two_groups_of_patches_are_filtered(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(Filtered, match=reason):
        rows(ImagePatchPairs(), item=Image(media_kind="image", codec="png", pixels=pixels))


@given(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)),
)
def test_overlap_over_union_counts_pixels(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    canvas = np.zeros((2, 40, 40), bool)
    for plane, (x, y, width, height) in zip(canvas, (one, other), strict=True):
        plane[y : y + height, x : x + width] = True
    expected = (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()
    assert iou(one, other) == pytest.approx(expected)  # type: ignore[arg-type]
