"""A picture that stays behind the fence."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.image import decode_image
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.resample import SquareCrop

from tests import broken_media

DATA = broken_media.jpeg(300, 200)
OURS = decode_image(DATA, Limits(), DecodeOptions())


@pytest.mark.parametrize("box", [(0, 0, 300, 200), (10, 20, 224, 150), (299, 199, 1, 1), (0, 0, 3, 200)])
@pytest.mark.parametrize("size", [(224, 150), (32, 32), (1, 1), (400, 300)])
def test_crops_are_those_of_the_whole_picture(
    fence: Fence, box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    assert np.array_equal(fence.image(DATA).crop(box, *size), OURS.crop(box, *size))


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 301, 10), (0, 0, 10, 201), (0, 0, 0, 5)])
def test_a_box_that_leaves_the_picture_is_refused(fence: Fence, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the picture"):
        fence.image(DATA).crop(box, 8, 8)


def test_all_pixels_are_fetched_once_and_cannot_be_changed(fence: Fence) -> None:
    image = fence.image(DATA)
    assert image.pixels is image.pixels
    assert not image.pixels.flags.writeable
    assert image.pixels.shape == (image.height_px, image.width_px, 3) == (200, 300, 3)


def test_a_picture_outlives_its_turn_and_its_child(fence: Fence) -> None:
    first = fence.image(DATA)
    fence.image(broken_media.jpeg(64, 64))
    assert np.array_equal(first.crop((5, 5, 100, 100), 50, 50), OURS.crop((5, 5, 100, 100), 50, 50))
    assert fence.pid is not None
    os.kill(fence.pid, signal.SIGKILL)
    assert np.array_equal(first.pixels, OURS.pixels)


@pytest.mark.parametrize("position", [(0.5, 0.5), (0.1, 0.93)])
def test_crops_said_beforehand_come_with_the_picture(fence: Fence, position: tuple[float, float]) -> None:
    crops = [SquareCrop(64, 0.875, position), SquareCrop(224, 1.0)]
    image = fence.image(DATA, crops=crops)
    fence.close()
    started = fence.num_children
    for crop in crops:
        box, side_px = crop.box(300, 200), crop.side_px
        assert np.array_equal(image.crop(box, side_px, side_px), OURS.crop(box, side_px, side_px))
    assert fence.num_children == started  # no child was asked
    assert np.array_equal(image.crop((5, 5, 100, 100), 50, 50), OURS.crop((5, 5, 100, 100), 50, 50))
