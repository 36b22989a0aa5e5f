from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from unlabeled.pipeline.ahead import batches, images_ahead
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.errors import Reject, RejectReason
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.resample import SquareCrop
from unlabeled.pipeline.source_reader import OpenSource

from tests.hostile_handlers import POISON, POISONED
from tests.small_datasets import jpeg

CROP = SquareCrop(16, 0.875)
SOUND = [jpeg(seed, 40, 30) for seed in range(4)]


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(decoders=POISONED) as opened:
        yield opened


def sources(*contents: bytes | None) -> list[OpenSource]:
    return [OpenSource(str(number), len(data or b""), data) for number, data in enumerate(contents)]


def ahead(fence: Fence, *contents: bytes | None) -> list[Image | None]:
    return images_ahead(sources(*contents), [[CROP]] * len(contents), fence)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1, 2, 3], [[1, 2, 3]]),
        ([1, 2, 3, 4, 5], [[1, 2, 3, 4], [5]]),
        ([9 << 20, 1, 9 << 20, 2], [[9 << 20], [1], [9 << 20], [2]]),
        ([3 << 20, 1 << 20, 1], [[3 << 20, 1 << 20], [1]]),
    ],
)
def test_batches_are_neighbours_within_number_and_bytes(sizes: list[int], expected: list[list[int]]) -> None:
    given = [OpenSource("", num_bytes) for num_bytes in sizes]
    assert [[source.num_bytes for source in batch] for batch in batches(given, 4)] == expected


def test_pictures_are_those_that_are_decoded_alone(fence: Fence) -> None:
    box = CROP.box(40, 30)
    for data, image in zip(SOUND, ahead(fence, *SOUND), strict=True):
        alone = fence.image(data)
        assert image is not None
        assert (image.codec, image.width_px, image.height_px) == (alone.codec, 40, 30)
        assert np.array_equal(image.crop(box, 16, 16), alone.crop(box, 16, 16))
        assert np.array_equal(image.pixels, alone.pixels)  # which did not come along


def test_they_take_one_turn_and_what_has_no_bytes_or_crops_takes_none(fence: Fence) -> None:
    asked: list[OpenSource] = sources(SOUND[0], None, SOUND[1], SOUND[2])
    images = images_ahead(asked, [[CROP], [CROP], [], [CROP]], fence)
    assert [image is not None for image in images] == [True, False, False, True]


def test_what_is_no_picture_is_left_to_be_judged_alone(fence: Fence) -> None:
    images = ahead(fence, SOUND[0], b"no picture", SOUND[1][:-300], SOUND[2])
    assert [image is not None for image in images] == [True, False, False, True]


@pytest.mark.parametrize("crop", [SquareCrop(1024, 1.0), SquareCrop(4096, 1.0)])
def test_crops_of_a_batch_stay_within_the_memory_for_them(fence: Fence, crop: SquareCrop) -> None:
    before = fence.cpu_seconds
    assert images_ahead(sources(*SOUND), [[crop]] * 4, fence) == [None] * 4
    assert fence.cpu_seconds == before


def test_one_that_kills_the_decoder_is_blamed_alone(fence: Fence) -> None:
    contents = [SOUND[0], SOUND[1] + POISON, SOUND[2]]
    assert ahead(fence, *contents) == [None] * 3
    with pytest.raises(Reject) as caught:
        fence.image(contents[1])
    assert caught.value.reason is RejectReason.DECODER_CRASH
    assert fence.image(contents[2]).codec == "jpeg"
