"""Resizing a box of a picture: bicubic with antialiasing, the one resampler of every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image as PillowImage

#: x, y, width, height in px of the upright picture.
Box = tuple[int, int, int, int]

#: Keys' cubic with a = -0.5 (IEEE ASSP 29, 1981), widened by the scale where it shrinks: what Pillow calls BICUBIC.
_BICUBIC = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom))


def crop_resize(pixels: NDArray[np.uint8], box: Box, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return the box of `pixels` [height, width, 3] resized to uint8 [height_px, width_px, 3].

    The box is cut out first: the filter never reads beyond it, as Pillow's `resize(box=)` would.
    Raises ValueError where the box leaves the picture or is empty.
    """
    check_box(box, pixels.shape[1], pixels.shape[0])
    x, y, width, height = box
    if (width, height) == (width_px, height_px):
        return np.ascontiguousarray(pixels[y : y + height, x : x + width])
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels[y : y + height, x : x + width]))
    return np.asarray(resize(picture, width_px, height_px))


def resize(picture: PillowImage.Image, width_px: int, height_px: int) -> PillowImage.Image:
    """Return a picture of mode RGB resized to width_px x height_px.

    Rows are filtered, rounded and clipped to 8 bits, then columns, as by Pillow's BICUBIC: both are at most one level
    off exact arithmetic that clips between. This takes a third of Pillow's time. The same on every kind of processor.
    """
    if picture.size == (width_px, height_px):
        return picture
    # The library filters columns first. Where the filter overshoots, the order tells; on its side, it is Pillow's.
    # Pixels go over as bytes: it would also reach into Pillow's memory, whose layout may change with any release.
    turned = picture.transpose(PillowImage.Transpose.TRANSPOSE)
    del picture  # a caller that keeps none of it needs 15 bytes a pixel in all for the largest pictures, not 18
    size, data = turned.size, turned.tobytes()
    del turned
    source = ImageData(*size, PixelType.U8x3, data)
    target = ImageData(height_px, width_px, PixelType.U8x3)
    Resizer().resize(source, target, _BICUBIC)
    resized = PillowImage.frombytes("RGB", (height_px, width_px), target.get_buffer())
    return resized.transpose(PillowImage.Transpose.TRANSPOSE)


def check_box(box: Box, width_px: int, height_px: int) -> None:
    """Raise ValueError where `box` is empty or leaves a picture of width_px x height_px."""
    x, y, width, height = box
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > width_px or y + height > height_px:
        raise ValueError(f"box {box} leaves the picture of {width_px} x {height_px} px.")


@dataclass(frozen=True, slots=True)
class SquareCrop:
    """A square crop that is said before the picture's size is known; for the arguments see `square_box`."""

    side_px: int
    crop_fraction: float
    position: tuple[float, float] = (0.5, 0.5)

    def box(self, width_px: int, height_px: int) -> Box:
        """Return the box in a picture of width_px x height_px."""
        return square_box(width_px, height_px, self.side_px, self.crop_fraction, self.position)


def square_box(
    width_px: int, height_px: int, side_px: int, crop_fraction: float, position: tuple[float, float] = (0.5, 0.5)
) -> Box:
    """Return a square box of about `crop_fraction` of the short side, never smaller than `side_px` where it fits.

    `position` in [0, 1] x [0, 1] places it: (0.5, 0.5) is the centre. A picture whose short side is below `side_px`
    gives a box of its whole short side (resizing it would upscale).
    """
    short_px = min(width_px, height_px)
    box_px = min(short_px, max(round(short_px * crop_fraction), side_px))
    x = int(position[0] * (width_px - box_px))
    y = int(position[1] * (height_px - box_px))
    return (x, y, box_px, box_px)
