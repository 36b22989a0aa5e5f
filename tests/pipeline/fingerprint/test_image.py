from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from unlabeled.pipeline.fingerprint import image
from unlabeled.pipeline.items import Image

from tests import samples
from tests.copies import copy_of_picture, pixels_of

NUM = 25


def taken(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    data = image.fingerprint(Image(media_kind="image", codec="jpeg", pixels=pixels))
    assert len(data) == image.NUM_BYTES
    return np.frombuffer(data, np.uint8)


@pytest.fixture(scope="module")
def originals() -> list[NDArray[np.uint8]]:
    return [samples.photograph(seed, 120, 90) for seed in range(NUM)]


def test_every_copy_meets_its_original_and_nothing_else(originals: list[NDArray[np.uint8]]) -> None:
    rng = np.random.default_rng(0)
    copies = [pixels_of(copy_of_picture(pixels, rng)) for pixels in originals]
    pairs = image.copies(np.stack([taken(pixels) for pixels in [*originals, *copies]]))
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(seed, NUM + seed) for seed in range(NUM)}


def test_pictures_without_details_are_copies_of_nothing() -> None:
    flat = np.stack([taken(np.full((40, 60, 3), level, np.uint8)) for level in (90, 90, 91)])
    assert not len(image.copies(flat))


def test_the_same_view_in_other_colours_is_no_copy(originals: list[NDArray[np.uint8]]) -> None:
    other = originals[0][..., [2, 1, 0]]
    assert not len(image.copies(np.stack([taken(originals[0]), taken(other)])))


@pytest.mark.parametrize("box", [(0.0, 1.0, 0.0, 1.0), (0.1, 0.9, 0.05, 0.95), (0.0, 0.85, 0.0, 1.0)])
def test_the_hash_of_a_crop_is_that_of_the_cropped_picture(
    originals: list[NDArray[np.uint8]], box: tuple[float, float, float, float]
) -> None:
    x, width, y, height = box
    pixels = originals[1]
    left, top = round(120 * x), round(90 * y)
    cropped = pixels[top : top + round(90 * height), left : left + round(120 * width)]
    (at,) = np.flatnonzero(np.isclose(image.crops(), box).all(axis=1))
    of_crop = image.hashes(image.unpacked(taken(pixels)[None])[0], of_crops=True)[0, at]
    of_cropped = image.hashes(image.unpacked(taken(cropped)[None])[0], of_crops=False)[0]
    assert np.bitwise_count(of_crop ^ of_cropped) <= 6


def test_crops_lie_within_the_picture_and_hold_four_fifths_of_it() -> None:
    x, width, y, height = image.crops().T
    assert (x[0], width[0], y[0], height[0]) == (0, 1, 0, 1)
    assert ((x + width <= 1 + 1e-9) & (y + height <= 1 + 1e-9) & (width * height >= 0.77)).all()
