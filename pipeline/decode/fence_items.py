"""Items whose content stays behind a fence until it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Reject
from ..items import Image
from ..resample import Box, SquareCrop, check_box
from .bytes_source import MemoryBytes
from .fence_calls import Opened
from .fence_media import nonsense
from .fence_protocol import Answer

if TYPE_CHECKING:
    from .fence_calls import FenceCalls


class FencedImage(Image):
    """A picture in a fence's child: `crop` brings the crop over, `pixels` (once) everything.

    Equal in every byte to the picture that `decode_image` gives in this process. Both may raise Reject, where the
    child was lost meanwhile and the picture cannot be decoded again.
    """

    __slots__ = ("_all_pixels", "_at_hand", "_fence", "_opened", "_size")
    _all_pixels: NDArray[np.uint8] | None
    _at_hand: dict[tuple[Box, int, int], NDArray[np.uint8]]
    _fence: FenceCalls
    _opened: Opened
    _size: tuple[int, int]

    def __init__(self, fence: FenceCalls, opened: Opened, crops: Sequence[SquareCrop] = ()) -> None:
        header = opened.header
        try:
            width_px, height_px = int(header["width_px"]), int(header["height_px"])
            facts = {
                "media_kind": "image",
                "codec": str(header["codec"]),
                "exif_orientation": int(header["exif_orientation"]),
                "is_truncated": bool(header["is_truncated"]),
                "_size": (width_px, height_px),
            }
        except (KeyError, ValueError, TypeError) as error:
            raise nonsense(header) from error
        at_hand = {
            (crop.box(width_px, height_px), crop.side_px, crop.side_px): _checked([array], crop.side_px, crop.side_px)
            for crop, array in zip(crops, opened.answer.arrays, strict=False)  # a user's decoder brings none
        }
        state = {"_fence": fence, "_opened": opened, "_all_pixels": None, "_at_hand": at_hand}
        for name, value in (facts | state).items():
            object.__setattr__(self, name, value)  # frozen, like every item

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The whole picture: uint8 [height, width, 3], read-only; fetched when first used."""
        pixels = self._all_pixels
        if pixels is None:
            pixels = self._fetch("image_pixels", self.height_px, self.width_px)
            pixels.flags.writeable = False
            object.__setattr__(self, "_all_pixels", pixels)
        return pixels

    @property
    def height_px(self) -> int:
        """Height of the upright picture."""
        return self._size[1]

    @property
    def width_px(self) -> int:
        """Width of the upright picture."""
        return self._size[0]

    def crop(self, box: Box, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Return the box of the picture, resized bicubically: uint8 [height_px, width_px, 3]."""
        crop = self._at_hand.get((box, width_px, height_px))
        if crop is not None:
            return crop.copy()
        check_box(box, *self._size)
        return self._fetch("image_crop", height_px, width_px, box=box, width_px=width_px, height_px=height_px)

    def _fetch(self, function: str, height: int, width: int, **args: object) -> NDArray[np.uint8]:
        return _checked(self._fence.ask(self._opened, function, **args).arrays, height, width)


@dataclass(frozen=True, slots=True)
class AskedImage:
    """A picture that is asked for together with others: its bytes, its key, and the crops that it shall bring."""

    data: bytes
    source_key: str
    crops: Sequence[SquareCrop]


def crops_as_json(crops: Sequence[SquareCrop]) -> list[tuple[int, float, tuple[float, float]]]:
    """Return crops as the child's handlers take them."""
    return [(crop.side_px, crop.crop_fraction, crop.position) for crop in crops]


def images_of(fence: FenceCalls, asked: Sequence[AskedImage], answer: Answer) -> list[Image | None]:
    """Return what the child's `images` said of pictures, each as if it had been opened alone; None for no picture."""
    arrays = iter(answer.arrays)
    images: list[Image | None] = []
    try:
        for each, header in zip(asked, answer.header["pictures"], strict=True):
            if header is None:
                images.append(None)
                continue
            own = Answer(header, [next(arrays) for _ in each.crops])
            opened = Opened("image", MemoryBytes(each.data), {"crops": crops_as_json(each.crops)}, own)
            images.append(FencedImage(fence, opened, each.crops))
    except (Reject, LookupError, ValueError, TypeError, StopIteration):  # what a sane child never says
        return [None] * len(asked)
    return images


def _checked(arrays: Sequence[NDArray[Any]], height: int, width: int) -> NDArray[np.uint8]:
    if len(arrays) != 1 or arrays[0].shape != (height, width, 3) or arrays[0].dtype != np.uint8:
        raise nonsense([array.shape for array in arrays])
    return arrays[0]
